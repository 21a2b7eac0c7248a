//! Reads Rust source roughly: enough to see which paths it names and how long its functions are.

use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// Where it is, from the root of the repository, with `/`.
    pub name: String,
    /// As it stands.
    pub text: String,
    /// Its words and punctuation; comments are gone, text literals are empty.
    pub tokens: Vec<Token>,
}

/// A word or one character of punctuation (`::` counts as one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Counted from 1.
    pub line: usize,
    /// As it stands.
    pub text: String,
}

/// A path some code names, from where it starts: `["crate", "domain", "ids"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Where.
    pub line: usize,
    /// Its segments.
    pub segments: Vec<String>,
}

/// A function and the lines of code in its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it starts.
    pub line: usize,
    /// Lines between its braces that hold code.
    pub length: usize,
}

/// The root of the repository. Asked for when the test runs: a target folder may be shared by several checkouts.
pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// Every `.rs` file below these folders, sorted; a folder that is not there has none.
pub fn sources(folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut paths);
    }
    assert!(!paths.is_empty(), "{folders:?} in {}: nothing to check", root().display());
    paths.sort();
    paths.into_iter().map(|path| Source::read(&path)).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

impl Source {
    fn read(path: &Path) -> Self {
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
        Self::new(name, std::fs::read_to_string(path).expect("a readable file"))
    }

    /// A file with this text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let tokens = tokens(&code_only(&text));
        Self { name: name.into(), text, tokens }
    }

    /// The module path of the file: `src/domain/ids.rs` is `["domain", "ids"]`, the crate's root is empty.
    pub fn module(&self) -> Vec<String> {
        let inner = self.name.strip_prefix("src/").unwrap_or(&self.name).trim_end_matches(".rs");
        let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        module
    }

    /// Whether it holds nothing but tests.
    pub fn is_test(&self) -> bool {
        self.module().iter().any(|part| part == "tests" || part.ends_with("_tests"))
    }

    /// Every path the file names, groups taken apart; `super` is resolved to where it leads.
    pub fn paths(&self) -> Vec<Named> {
        let (mut found, mut at, mut inline) = (Vec::new(), 0, Inline::default());
        while at < self.tokens.len() {
            inline.step(&self.tokens, at);
            let starts = is_word(&self.tokens[at].text) && (at == 0 || self.tokens[at - 1].text != "::");
            if !starts || self.text_at(at + 1) != "::" {
                at += 1;
                continue;
            }
            let before = found.len();
            at = self.tree(at, &mut Vec::new(), &mut found);
            for named in &mut found[before..] {
                resolve(named, self.module(), &inline.names());
            }
        }
        found
    }

    /// Reads one path or tree from `at`; returns where it ends.
    fn tree(&self, mut at: usize, prefix: &mut Vec<String>, found: &mut Vec<Named>) -> usize {
        let line = self.tokens.get(at).map_or(0, |token| token.line);
        let depth = prefix.len();
        loop {
            match self.text_at(at) {
                "{" => {
                    at += 1;
                    while !["}", ""].contains(&self.text_at(at)) {
                        let next = self.tree(at, prefix, found);
                        at = next.max(at + 1);
                        if self.text_at(at) == "," {
                            at += 1;
                        }
                    }
                    at += 1;
                    break;
                }
                word if is_word(word) || word == "*" => {
                    prefix.push(word.to_owned());
                    at += 1;
                    if self.text_at(at) == "as" {
                        at += 2;
                    }
                    let more = self.text_at(at) == "::" && (is_word(self.text_at(at + 1)) || ["{", "*"].contains(&self.text_at(at + 1)));
                    if !more {
                        found.push(Named { line, segments: prefix.clone() });
                        break;
                    }
                    at += 1;
                }
                _ => break,
            }
        }
        prefix.truncate(depth);
        at
    }

    /// Its functions, test modules left out.
    pub fn functions(&self) -> Vec<Function> {
        let (mut found, mut at) = (Vec::new(), 0);
        while at < self.tokens.len() {
            if let Some(end) = self.test_module(at) {
                at = end;
                continue;
            }
            if self.text_at(at) == "fn"
                && is_word(self.text_at(at + 1))
                && let Some(open) = self.body(at)
            {
                let close = self.closing(open);
                let mut lines: Vec<usize> = self.tokens[open + 1..close].iter().map(|token| token.line).collect();
                lines.dedup();
                found.push(Function { name: self.text_at(at + 1).to_owned(), line: self.tokens[at].line, length: lines.len() });
            }
            at += 1;
        }
        found
    }

    /// Where a `#[cfg(test)] mod … { }` that starts here ends.
    fn test_module(&self, at: usize) -> Option<usize> {
        let head = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
        let starts = head.iter().enumerate().all(|(offset, text)| self.text_at(at + offset) == *text);
        let open = at + head.len() + 1;
        (starts && self.text_at(open) == "{").then(|| self.closing(open))
    }

    /// The brace that opens the body of the function at `at`; none for a declaration.
    fn body(&self, at: usize) -> Option<usize> {
        let mut nested = 0_usize;
        for index in at..self.tokens.len() {
            match self.text_at(index) {
                "(" | "[" => nested += 1,
                ")" | "]" => nested = nested.saturating_sub(1),
                "{" if nested == 0 => return Some(index),
                ";" if nested == 0 => return None,
                _ => {}
            }
        }
        None
    }

    fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for index in open..self.tokens.len() {
            match self.text_at(index) {
                "{" => depth += 1,
                "}" if depth == 1 => return index,
                "}" => depth -= 1,
                _ => {}
            }
        }
        self.tokens.len()
    }

    /// The token at a place, or nothing.
    pub fn text_at(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }
}

/// The inline modules around a place.
#[derive(Default)]
struct Inline {
    depth: usize,
    open: Vec<(String, usize)>,
}

impl Inline {
    fn step(&mut self, tokens: &[Token], at: usize) {
        match tokens[at].text.as_str() {
            "{" => {
                if at >= 2 && tokens[at - 2].text == "mod" {
                    self.open.push((tokens[at - 1].text.clone(), self.depth));
                }
                self.depth += 1;
            }
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                self.open.pop_if(|(_, depth)| *depth == self.depth);
            }
            _ => {}
        }
    }

    fn names(&self) -> Vec<String> {
        self.open.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// `super::x` in `src/domain/ids.rs` is `crate::domain::x`.
fn resolve(named: &mut Named, mut module: Vec<String>, inline: &[String]) {
    if !["super", "self"].contains(&named.segments[0].as_str()) {
        return;
    }
    module.extend(inline.iter().cloned());
    let mut rest = named.segments.as_slice();
    while let Some((first, tail)) = rest.split_first() {
        match first.as_str() {
            "super" => drop(module.pop()),
            "self" => {}
            _ => break,
        }
        rest = tail;
    }
    named.segments = std::iter::once("crate".to_owned()).chain(module).chain(rest.iter().cloned()).collect();
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push(Token { line: index + 1, text: rest[..length].to_owned() });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// The text without comments; of text literals only quotes are left, on every line they span.
fn code_only(text: &str) -> String {
    let (mut code, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (length, filler) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), ' ')
        } else if rest.starts_with("/*") {
            (block_comment(rest), ' ')
        } else if let Some(length) = raw_text(rest).filter(|_| !after_word) {
            (length, '"')
        } else if first == '"' {
            (quoted(rest), '"')
        } else if let Some(length) = character(rest) {
            (length, '"')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().map(|c| if c.is_whitespace() { c } else { filler }));
        rest = &rest[length..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, also with a leading `b`.
fn raw_text(text: &str) -> Option<usize> {
    let head = if text.starts_with("br") { 2 } else { 1 };
    if !text.starts_with('r') && head == 1 {
        return None;
    }
    let hashes = text[head..].chars().take_while(|c| *c == '#').count();
    let open = head + hashes;
    if !text[open..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text[open + 1..].find(&end).map_or(text.len(), |at| open + 1 + at + end.len()))
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return inner[2..].find('\'').map(|at| at + 4);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].starts_with('\'').then(|| first.len_utf8() + 2)
}
