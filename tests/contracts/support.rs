//! Schemas to check with, and files of the repository.

use std::path::PathBuf;
use std::process::Command;

use jsonschema::Validator;
use serde_json::Value;
use syncline::schema::{Contract, Form};
use syncline::wire::{Limits, Transport, decode};

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn contract(name: &str) -> Contract {
    *Contract::ALL.iter().find(|contract| contract.name() == name).unwrap_or_else(|| panic!("no contract {name:?}"))
}

pub fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap_or_else(|error| panic!("{}: {error}", schema["$id"]))
}

pub fn schema(contract: Contract) -> Validator {
    validator(&contract.schema())
}

/// What is wrong with a value, a line each.
pub fn problems(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The form of a message, told by its content.
pub fn form(message: &Value) -> Contract {
    let op = message["op"].as_str().unwrap_or("upsert");
    if message.get("changed").is_some() && message.get("version").is_some() {
        Contract::Outbound
    } else if message.get("change_set").is_some_and(|flag| !flag.is_null() && flag != false) {
        Contract::Sent(Form::ChangeSet)
    } else if message.get("specversion").is_some() {
        Contract::Sent(Form::CloudEvent)
    } else {
        contract(op)
    }
}

/// That a good message is one by its own schema, by that of all inbound messages, and to the real decoder.
pub fn assert_good(name: &str, message: &Value) {
    let form = form(message);
    assert_eq!(problems(&schema(form), message), [""; 0], "{name}: {message}");
    if form == Contract::Outbound {
        serde_json::from_value::<syncline_contract::Outbound>(message.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        return;
    }
    assert!(schema(Contract::Inbound).is_valid(message), "{name}: {message}");
    if let Err(problem) = decode(message.to_string().as_bytes(), &Transport::default(), &Limits::default()) {
        panic!("{name}: {problem}");
    }
}

/// What a command of the real binary prints.
pub fn said(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_syncline")).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The fenced blocks of a page: what is behind the three backticks, and the text.
pub fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((info.trim().to_owned(), text.join("\n")));
    }
    blocks
}
