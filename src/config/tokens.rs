//! The file `[http.auth] tokens_file` names: who may come in, and as what.
//!
//! One entry a line, TOML: `anna = { role = "operator", hash = "$argon2id$…" }`. The tokens themselves are nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use argon2::Params;
use argon2::password_hash::PasswordHash;

use super::problem::{ConfigErrors, KeyPath, Place, Problem, Report};
use super::reader::{Field, Read, ReadKey};
use super::values::Secret;
use super::{Config, suggest, tree};
use crate::domain::ids::SystemName;

/// Longest name, in characters.
const NAME_MAX: usize = 200;
/// Most memory a hash may ask for, in KiB, and most rounds: whoever looks at a token pays for both.
const MEMORY_MAX: u32 = 256 * 1024;
const ROUNDS_MAX: u32 = 16;
/// Shortest hash that is worth its name, in bytes.
const HASH_MIN: usize = 16;

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The adapter of this system: hands in its updates, fetches what waits for it.
    Adapter(SystemName),
    /// Sees everything.
    Viewer,
    /// Sees everything, and does what people do: about waiting updates, dead letters, brakes, systems and records.
    Operator,
    /// Everything.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adapter(system) => write!(f, "adapter:{system}"),
            Self::Viewer => f.write_str("viewer"),
            Self::Operator => f.write_str("operator"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(system) = text.strip_prefix("adapter:") {
            return SystemName::new(system).map(Self::Adapter).map_err(|invalid| format!("{text:?}: {invalid}"));
        }
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => {
                let hint = suggest::did_you_mean(text, ["viewer", "operator", "admin"]);
                Err(format!("{text:?} is no role; there are adapter:SYSTEM, viewer, operator and admin{hint}"))
            }
        }
    }
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The person or program; stands in decisions and in the audit log.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Its token's argon2id hash, in the PHC string format.
    pub hash: Secret,
}

/// The tokens of a file, and what is worth a thought about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// In the order of their names.
    pub tokens: Vec<Token>,
    /// In line order.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads the file of `[http.auth]`; `None` without it. Names every problem of the file.
    pub fn tokens(&self) -> Result<Option<Tokens>, ConfigErrors> {
        self.http.auth.as_ref().map(|auth| read(&auth.tokens_file, self)).transpose()
    }
}

fn read(path: &Path, config: &Config) -> Result<Tokens, ConfigErrors> {
    let origin = path.display().to_string();
    let report = Report::new(&origin);
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path, config, report),
        Err(error) => {
            report.error(&Place::Whole, &KeyPath::default(), format!("cannot be read: {error}; [http.auth] tokens_file names it"));
            Err(errors(report))
        }
    }
}

fn parse(text: &str, path: &Path, config: &Config, report: Report<'_>) -> Result<Tokens, ConfigErrors> {
    let root = tree::parse(text, &report);
    let mut entries: BTreeMap<Name, Entry> = BTreeMap::new();
    if !report.has_errors() {
        let field = Field { report: &report, path: KeyPath::default(), node: &root };
        entries = BTreeMap::read(&field).unwrap_or_default();
        if entries.is_empty() && !report.has_errors() {
            report.error(&Place::Whole, &KeyPath::default(), "holds no token, so nobody could come in; make one with `syncline token`");
        }
    }
    for (Name(name), entry) in &entries {
        if let Role::Adapter(system) = &entry.role {
            let place = root.place_of(&KeyPath::of(&[name]));
            known(config, system, &|error, message| {
                let path = KeyPath::of(&[name, "role"]);
                if error { report.error(&place, &path, message) } else { report.warning(&place, &path, message) }
            });
        }
    }
    if let Some(warning) = open_to_all(path) {
        report.warning(&Place::Whole, &KeyPath::default(), warning);
    }
    if report.has_errors() {
        return Err(errors(report));
    }
    let tokens = entries.into_iter().map(|(Name(name), Entry { role, hash })| Token { name, role, hash }).collect();
    Ok(Tokens { tokens, warnings: report.into_lists().1 })
}

fn errors(report: Report<'_>) -> ConfigErrors {
    let (problems, warnings) = report.into_lists();
    ConfigErrors { problems, warnings }
}

/// A system nobody configured may be a slip of the pen.
fn known(config: &Config, system: &SystemName, say: &dyn Fn(bool, String)) {
    let systems = &config.systems;
    if systems.is_empty() || systems.contains_key(system) {
        return;
    }
    let hint = suggest::did_you_mean(system.as_str(), systems.keys().map(SystemName::as_str));
    say(!config.takes_unknown_systems(), format!("system \"{system}\" is not configured under [systems]{hint}"));
}

/// Why the rights of a file with a secret are too wide, if they are.
#[must_use]
pub fn open_to_all(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then_some("can be read by everybody on this machine; take that away with chmod o-rwx")
}

/// A name as the file has it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl ReadKey for Name {
    fn read_key(field: &Field<'_>, key: &str) -> Option<Self> {
        match checked_name(key) {
            Ok(()) => Some(Self(key.to_owned())),
            Err(wrong) => {
                field.error(wrong);
                None
            }
        }
    }
}

/// Whether a name can stand in a row that people read.
pub fn checked_name(name: &str) -> Result<(), String> {
    let fits = !name.trim().is_empty() && name.trim() == name && name.chars().count() <= NAME_MAX && !name.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(format!("{name:?} is no name; write 1 to {NAME_MAX} characters on one line, without blanks at its ends"))
    }
}

#[derive(Debug)]
struct Entry {
    role: Role,
    hash: Secret,
}

impl Read for Entry {
    fn read(field: &Field<'_>) -> Option<Self> {
        let mut table = field.table()?;
        let role = table.required_with("role", |field| {
            let text = field.text("a role")?;
            text.parse::<Role>().map_err(|wrong| field.error(wrong)).ok()
        });
        let hash = table.required_with("hash", |field| {
            let text = field.text("an argon2id hash")?;
            checked_hash(text).map_err(|wrong| field.error(wrong)).ok()?;
            Some(Secret::new(text))
        });
        table.finish();
        Some(Self { role: role?, hash: hash? })
    }
}

/// Whether a hash can be used. The answer never quotes it.
fn checked_hash(text: &str) -> Result<(), String> {
    let remedy = "make one with `syncline token`";
    let hash = PasswordHash::new(text).map_err(|error| format!("is no hash in the PHC string format ({error}); {remedy}"))?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("is no argon2id hash; {remedy}"));
    }
    let params = Params::try_from(&hash).map_err(|error| format!("has wrong parameters ({error}); {remedy}"))?;
    if hash.salt.is_none() || hash.hash.is_none_or(|output| output.len() < HASH_MIN) {
        return Err(format!("is cut short; {remedy}"));
    }
    if params.m_cost() > MEMORY_MAX || params.t_cost() > ROUNDS_MAX || params.p_cost() > ROUNDS_MAX {
        return Err(format!("costs more than {MEMORY_MAX} KiB or {ROUNDS_MAX} rounds each time somebody comes in; {remedy}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$Ky5OXW0qVRP0aF8GMtC0zDSbhtEmG3yZnWWb1ndz2L8";

    fn tokens(text: &str, systems: &str) -> Result<Tokens, ConfigErrors> {
        let config = Config::from_toml(systems, "t.toml").unwrap();
        parse(text, Path::new("/nowhere"), &config, Report::new("tokens"))
    }

    #[test]
    fn each_line_is_somebody() {
        let text = format!(
            "# people\nanna = {{ role = \"operator\", hash = \"{HASH}\" }}\n\"bms adapter\" = {{ role = \"adapter:bms\", hash = \"{HASH}\" }}\n"
        );
        let read = tokens(&text, "").unwrap();
        let seen: Vec<_> = read.tokens.iter().map(|token| (token.name.as_str(), token.role.to_string())).collect();
        assert_eq!(seen, [("anna", "operator".to_owned()), ("bms adapter", "adapter:bms".to_owned())]);
        assert!(!format!("{read:?}").contains("argon2id"), "{read:?}");
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_its_line_and_no_hash() {
        let weak = HASH.replace("argon2id", "argon2i");
        let dear = HASH.replace("m=19456", "m=4000000");
        let text = format!(
            "a = {{ role = \"operater\", hash = \"{HASH}\" }}\nb = {{ role = \"viewer\" }}\nc = {{ role = \"admin\", hash = \"secret\" }}\n\
             d = {{ role = \"admin\", hash = \"{weak}\", x = 1 }}\n\" e\" = {{ role = \"admin\", hash = \"{HASH}\" }}\n\
             f = {{ role = \"adapter:bsm\", hash = \"{HASH}\" }}\ng = {{ role = \"adapter:\", hash = \"{dear}\" }}\n"
        );
        let wrong = tokens(&text, "[systems.bms]").unwrap_err().to_string();
        insta::assert_snapshot!(wrong, @r#"
        tokens:1: a.role: "operater" is no role; there are adapter:SYSTEM, viewer, operator and admin; did you mean "operator"?
        tokens:2: b: "hash" is missing
        tokens:3: c.hash: is no hash in the PHC string format (password hash string missing field); make one with `syncline token`
        tokens:4: d.hash: is no argon2id hash; make one with `syncline token`
        tokens:4: d.x: unknown key; expected one of role, hash
        tokens:5: " e": " e" is no name; write 1 to 200 characters on one line, without blanks at its ends
        tokens:6: f.role: system "bsm" is not configured under [systems]; did you mean "bms"?
        tokens:7: g.role: "adapter:": system "" must be 1 to 32 characters of a-z, 0-9, _ and -
        tokens:7: g.hash: costs more than 262144 KiB or 16 rounds each time somebody comes in; make one with `syncline token`
        "#);
        assert!(!wrong.contains("secret") && !wrong.contains("AAEC"), "{wrong}");
        let twice = tokens(&format!("a = {{ role = \"admin\", hash = \"{HASH}\" }}\na = {{ role = \"admin\", hash = \"{HASH}\" }}"), "");
        assert!(twice.unwrap_err().to_string().starts_with("tokens:2: not valid TOML"));
        assert!(tokens("", "").unwrap_err().to_string().contains("holds no token"));
    }

    #[test]
    fn a_system_that_may_still_come_is_only_a_warning() {
        let text = format!("a = {{ role = \"adapter:bsm\", hash = \"{HASH}\" }}");
        assert_eq!(tokens(&text, "").unwrap().warnings, []);
        let read = tokens(&text, "unknown_systems = \"accept\"\n[systems.bms]").unwrap();
        assert_eq!(
            read.warnings[0].to_string(),
            "tokens:1: a.role: system \"bsm\" is not configured under [systems]; did you mean \"bms\"?"
        );
    }

    #[test]
    fn a_file_for_everybody_is_a_warning_and_a_missing_one_an_error() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("a = {{ role = \"admin\", hash = \"{HASH}\" }}")).unwrap();
        let mut config = Config::default();
        config.http.auth = Some(super::super::HttpAuth { tokens_file: file.path().to_owned() });
        let rights = |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        rights(0o640);
        assert_eq!(config.tokens().unwrap().unwrap().warnings, []);
        rights(0o644);
        assert!(config.tokens().unwrap().unwrap().warnings[0].to_string().contains("can be read by everybody"));
        config.http.auth = Some(super::super::HttpAuth { tokens_file: "/nowhere/tokens".into() });
        assert!(config.tokens().unwrap_err().to_string().starts_with("/nowhere/tokens: cannot be read: "));
    }
}
