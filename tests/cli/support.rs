//! Runs the binary and looks at what it wrote.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

pub const EXAMPLE: [&str; 8] = [
    "--input",
    "bms:sensor:examples/batch/bms-sensors.jsonl",
    "--input",
    "bms:device:examples/batch/bms-devices.jsonl",
    "--input",
    "oem:device:examples/batch/oem-devices.jsonl",
    "--input",
    "oem:sensor:examples/batch/oem-sensors.jsonl",
];

pub const EXAMPLE_CONFIG: &str = "examples/batch/syncline.toml";

/// A folder of one test, gone at its end.
pub struct Scene(TempDir);

impl Scene {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    /// A path in the folder as an argument.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn rows(&self, name: &str) -> Vec<Value> {
        rows(&self.path(name))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

pub fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn syncline<S: AsRef<str>>(args: &[S]) -> Output {
    let args = args.iter().map(AsRef::as_ref);
    Command::new(env!("CARGO_BIN_EXE_syncline")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// Standard output of a command that must succeed.
pub fn ok<S: AsRef<str>>(args: &[S]) -> String {
    let output = syncline(args);
    assert!(output.status.success(), "{:?}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code, standard output and standard error of a command that must fail.
pub fn fails<S: AsRef<str>>(args: &[S]) -> (i32, String, String) {
    let output = syncline(args);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The shipped example, into `out` of the scene.
pub fn example(scene: &Scene, more: &[&str]) -> String {
    let out = scene.text("out");
    let mut args = vec!["batch", "--config", EXAMPLE_CONFIG, "--seed", "1", "--out", &out];
    args.extend(EXAMPLE);
    args.extend(more);
    ok(&args)
}

/// Runs files through the engine, into `out` of the scene. Returns what it said on standard error.
pub fn batch(scene: &Scene, config: &str, out: &str, inputs: &[&str], more: &[&str]) -> String {
    let out = scene.text(out);
    let mut args = vec!["batch", "--config", config, "--out", &out];
    args.extend(inputs.iter().flat_map(|input| ["--input", input]));
    args.extend(more);
    let output = syncline(&args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}\n{error}", output.status);
    error
}
