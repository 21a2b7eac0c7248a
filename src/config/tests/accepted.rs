//! What is accepted, and what it means.

use std::path::Path;
use std::time::Duration;

use super::super::*;
use super::{config, env, warnings};

const SHIPPED: &str = include_str!("../../../config/syncline.toml");
const EXAMPLE: &str = include_str!("../../../config/example.toml");

/// The specification's sample, without what this version does not have.
const SAMPLE: &str = r#"
unknown_systems = "auto"
[broker]
kind = "embedded"
[store]
kind = "embedded"
path = "syncline-data"
[http]
listen = "127.0.0.1:7171"
[orchestration]
push_updates = false
notification_mode = "selective"
decision_logging = "all"
retention = { default = "400d", unchanged = "7d", echo = "7d" }
dedup_retention = "forever"
batch_size = 100
batch_timeout = "5ms"
handler_timeout = { after = "5s", verdict = "retry" }
circular_update_prevention = { enabled = true, window_seconds = 5, flips_max = 3 }
retry_policy = { max_attempts = 3, initial = "200ms", backoff_multiplier = 2 }
review_timeout = { after = "never", verdict = "skip" }
first_contact = "fill"
create_brake = { count = 1000, window = "1m" }
delete_brake = { count = 100, percent = 5, window = "10m" }
create_settle = "30s"
answer_timeout = "1h"
tombstone_retention = "90d"
id_cache = "16MiB"
record_cache = "16MiB"
events = false
[entities.device]
keys = [{ fields = ["serial"], normalize = ["trim", "lowercase"], ignore = ["n/a"] }]
key_required = false
duplicates = "park"
references = { parent_id = "device" }
on_missing_reference = { inbound = "park", outbound = "hold" }
on_parent_delete = "keep"
delete = { policy = "propagate", conflict = "delete_wins" }
survivorship = { name = "longest", status = ["non_empty", { rule = "source_priority", sources = ["bms", "oem"] }] }
sets = ["tags"]
[systems.oem]
mode = "sync"
receipts = "auto"
writes = "whole"
echo = "auto"
absent = "keep"
trust_time = false
id_field = "id"
[systems.oem.entities.device]
direction = "both"
create = "auto"
fields = { exclude = ["internal_notes"] }
rename = { serial = "serial_no" }
values = { status = { active = "A", retired = "R" } }
compare = { name = { trim = true, max_length = 40 }, price = { decimals = 2 } }
on_reject = "keep"
"#;

fn path(text: &str) -> FieldPath {
    FieldPath::new(text).unwrap()
}

fn system(name: &str) -> SystemName {
    SystemName::new(name).unwrap()
}

#[test]
fn nothing_at_all_is_the_zero_configuration() {
    assert_eq!(config(""), Config::default());
    assert_eq!(Config::from_env(env(&[("PATH", "/bin"), ("SYNCLINE_LOG", "info")])).unwrap(), Config::default());
    assert!(Config::default().takes_unknown_systems());
}

#[test]
fn the_shipped_file_shows_the_defaults() {
    assert_eq!(config(SHIPPED), Config::default());
}

#[test]
fn the_shipped_files_commented_sections_show_the_defaults_too() {
    let uncommented: Vec<&str> = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()) => key,
            _ => line,
        })
        .collect();
    let config = config(&uncommented.join("\n"));
    assert_eq!(config.entities["device"], Entity::default());
    let oem = System { entities: [(EntityType::new("device").unwrap(), SystemEntity::default())].into(), ..System::default() };
    assert_eq!(config.systems["oem"], oem);
}

#[test]
fn every_key_of_the_sample_is_accepted_and_means_what_it_says() {
    let config = config(SAMPLE);
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "a source nothing else is said of may come later: {warnings:?}");
    assert!(warnings[0].ends_with("system \"bms\" is not configured under [systems]"), "{warnings:?}");
    assert_eq!(config.orchestration, Orchestration::default());
    let device = &config.entities["device"];
    assert_eq!(
        device.keys,
        [MatchKey { fields: vec![path("serial")], normalize: vec![Normalize::Trim, Normalize::Lowercase], ignore: vec!["n/a".to_owned()] }]
    );
    assert_eq!(device.references[&path("parent_id")].as_str(), "device");
    assert_eq!(device.survivorship[&path("name")], [Rule::Longest]);
    let priority = Rule::SourcePriority { sources: vec![system("bms"), system("oem")] };
    assert_eq!(device.survivorship[&path("status")], [Rule::NonEmpty, priority]);
    assert_eq!(device.sets, [path("tags")].into());
    let oem = &config.systems["oem"].entities["device"];
    assert_eq!(oem.fields, Fields::Exclude([path("internal_notes")].into()));
    assert_eq!(oem.rename[&path("serial")], path("serial_no"));
    assert_eq!(oem.values[&path("status")]["active"], Scalar::Text("A".to_owned()));
    assert_eq!(oem.compare[&path("price")], Compare { decimals: Some(2), ..Compare::default() });
    assert_eq!(oem.compare[&path("name")].max_length.map(std::num::NonZero::get), Some(40));
    assert!(!config.takes_unknown_systems());
}

#[test]
fn the_example_is_valid_and_without_warnings() {
    let config = config(EXAMPLE);
    assert_eq!(config.warnings, []);
    assert!(config.orchestration.push_updates);
    assert!(config.creates(&system("oem"), &EntityType::new("device").unwrap()));
    assert!(config.creates(&system("bms"), &EntityType::new("sensor").unwrap()));
}

#[test]
fn every_orchestration_key_is_read() {
    let read = config(
        r#"[orchestration]
        push_updates = true
        notification_mode = "all"
        decision_logging = true
        batch_size = 7
        batch_timeout = "0ms"
        handler_timeout = { after = "2m", verdict = "review" }
        circular_update_prevention = { enabled = false, window_seconds = 9, flips_max = 5 }
        retry_policy = { max_attempts = 1, initial = "1s", backoff_multiplier = 1.5 }
        review_timeout = { verdict = "accept" }
        first_contact = "overwrite"
        create_brake = { window = "60s" }
        id_cache = "1GiB"
        record_cache = "0B""#,
    )
    .orchestration;
    let number = |number| std::num::NonZero::new(number).unwrap();
    let usual = Orchestration::default();
    let expected = Orchestration {
        push_updates: true,
        notification_mode: NotificationMode::All,
        batch_size: std::num::NonZero::new(7).unwrap(),
        batch_timeout: Duration::ZERO,
        handler_timeout: HandlerTimeout { after: Duration::from_secs(120), verdict: HandlerTimeoutVerdict::Review },
        circular_update_prevention: CircularUpdatePrevention { enabled: false, window: Duration::from_secs(9), flips_max: number(5) },
        retry_policy: RetryPolicy { max_attempts: number(1), initial: Duration::from_secs(1), backoff_multiplier: 1.5 },
        review_timeout: ReviewTimeout { verdict: ReviewTimeoutVerdict::Accept, ..usual.review_timeout },
        first_contact: FirstContact::Overwrite,
        id_cache: ByteSize::mib(1024),
        record_cache: ByteSize(0),
        ..usual
    };
    assert_eq!(read, expected);
}

#[test]
fn rules_have_several_spellings() {
    let priority = || Rule::SourcePriority { sources: vec![system("a"), system("b")] };
    let truth = |fallback| Rule::SourceOfTruth { system: system("erp"), fallback };
    for (written, chain) in [
        (r#""longest""#, vec![Rule::Longest]),
        (r#"{ rule = "sum_delta" }"#, vec![Rule::SumDelta]),
        (r#"{ rule = "source_priority", sources = ["a", "b"] }"#, vec![priority()]),
        (r#"{ source_priority = ["a", "b"] }"#, vec![priority()]),
        (r#"{ source_of_truth = { system = "erp" } }"#, vec![truth(vec![Rule::Latest])]),
        (r#"{ source_of_truth = { system = "erp", fallback = "first" } }"#, vec![truth(vec![Rule::First])]),
        (r#"{ rule = "source_of_truth", system = "erp", fallback = ["non_empty", "max"] }"#, vec![truth(vec![Rule::NonEmpty, Rule::Max])]),
        (r#"["min", "shortest", { rule = "union" }]"#, vec![Rule::Min, Rule::Shortest, Rule::Union]),
    ] {
        let config = config(&format!("[entities.device.survivorship]\n\"address.city\" = {written}"));
        assert_eq!(config.entities["device"].survivorship[&path("address.city")], chain, "{written}");
    }
}

#[test]
fn features_to_come_are_read_once_their_lines_are_gone() {
    let text = r#"
[broker]
kind = "rabbitmq"
url = "amqps://mq.example.com"
partitions = 4
require_user_id = true
[store]
kind = "mongodb"
url_file = "mongodb-url"
[http]
listen = "0.0.0.0:443"
[http.auth]
tokens_file = "tokens.toml"
[http.tls]
cert_file = "c.pem"
key_file = "k.pem"
[orchestration]
decision_logging = false
retention = { default = "forever" }
review_timeout = { after = "30d" }
delete_brake = { percent = 2.5 }
events = true
[entities.device]
on_parent_delete = "cascade"
delete = { policy = "review", conflict = "update_revives" }
redact = ["phone"]
[systems.oem]
mode = "observe"
amqp_user = "oem-adapter"
[systems.oem.entities.device]
on_reject = "compensate"
"#;
    let config = load::assemble(Some(text), "t.toml", std::iter::empty(), &[]).unwrap();
    assert_eq!(config.broker.url, Some(Secret::new("amqps://mq.example.com")));
    assert_eq!(config.store.url_file.as_deref(), Some(Path::new("mongodb-url")));
    assert_eq!(config.http.auth.map(|auth| auth.tokens_file), Some("tokens.toml".into()));
    assert_eq!(config.orchestration.decision_logging, DecisionLogging::None);
    assert_eq!(config.orchestration.retention.default, Expiry::Never);
    assert_eq!(config.orchestration.review_timeout.after.duration(), Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(config.entities["device"].delete, Delete { policy: DeletePolicy::Review, conflict: DeleteConflict::UpdateRevives });
    assert_eq!(config.systems["oem"].mode, Mode::Observe);
}

#[test]
fn the_environment_overrides_the_file_whatever_its_case() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[orchestration]\nbatch_size = 5\n[systems.oem.entities.device]\nrename = { serialNo = \"sn\" }\n")
        .unwrap();
    let read = Config::load(
        file.path(),
        env(&[
            ("SYNCLINE__ORCHESTRATION__BATCH_SIZE", "50"),
            ("syncline__orchestration__batch_timeout", "20ms"),
            ("SYNCLINE__ORCHESTRATION__RETRY_POLICY__MAX_ATTEMPTS", "9"),
            ("SYNCLINE__SYSTEMS__OEM__ID_FIELD", "123"),
            ("SYNCLINE__SYSTEMS__OEM__ENTITIES__DEVICE__RENAME__SERIALNO", "serial_no"),
            ("SYNCLINE__ENTITIES__DEVICE__SETS", r#"["tags"]"#),
        ]),
    )
    .unwrap();
    assert_eq!(read.orchestration.batch_size.get(), 50);
    assert_eq!(read.orchestration.batch_timeout, Duration::from_millis(20));
    assert_eq!(read.orchestration.retry_policy.max_attempts.get(), 9);
    assert_eq!(read.systems["oem"].id_field, "123");
    assert_eq!(read.systems["oem"].entities["device"].rename[&path("serialNo")], path("serial_no"));
    assert_eq!(read.entities["device"].sets, [path("tags")].into());
}

#[test]
fn a_missing_file_is_one_problem() {
    let errors = Config::load(Path::new("no/such.toml"), std::iter::empty()).unwrap_err();
    assert!(errors.to_string().starts_with("no/such.toml: cannot be read: "), "{errors}");
}

#[test]
fn the_hash_follows_what_decides() {
    let usual = Config::default().hash();
    // Stored with every decision: it must not change from one build to the next without a reason.
    insta::assert_snapshot!(usual, @"1bdf80b5b8ad958a");
    for same in [
        "[orchestration]\nevents = false",
        "[orchestration]\nbatch_size = 1\nid_cache = \"1MiB\"",
        "[store]\npath = \"elsewhere\"",
        "[orchestration]\nanswer_timeout = \"5m\"",
    ] {
        assert_eq!(config(same).hash(), usual, "{same}");
    }
    for other in ["[orchestration]\npush_updates = true", "[entities.a]", "[systems.a]", "unknown_systems = \"reject\""] {
        assert_ne!(config(other).hash(), usual, "{other}");
    }
    assert_eq!(config(SAMPLE).hash().len(), 16);
}

#[test]
fn doubts_are_warnings() {
    let text = r#"[entities.device]
key_required = true
references = { parent_id = "devise" }
survivorship = { name = ["latest", "longest"] }
[entities.sensor]
references = { device_id = "device" }
[systems.oem]
receipts = "none"
[systems.oem.entities.device]
direction = "in"
create = true
[systems.oem.entities.senser]
[systems.oem.entities.sensor]
[entities.site]
on_parent_delete = "clear"
"#;
    insta::assert_snapshot!(warnings(text).join("\n"), @r#"
    t.toml:2: entities.device.key_required: the type has no keys, so every new record will be parked; add "keys"
    t.toml:3: entities.device.references.parent_id: type "devise" is not configured under [entities]; did you mean "device"?
    t.toml:4: entities.device.survivorship.name: latest always decides; the rules after it never will
    t.toml:11: systems.oem.entities.device.create: type "device" has no keys and "oem" sends no receipts: a create sent twice makes two records
    t.toml:12: systems.oem.entities.senser: type "senser" is not configured under [entities]; did you mean "sensor"?
    t.toml:13: systems.oem.entities.sensor: is not sent type "device", so "device_id" will be left out of what it is sent
    t.toml:15: entities.site.on_parent_delete: the type has no references, so nothing it belongs to can be deleted; add "references"
    "#);
    assert_eq!(warnings("[systems.oem.entities.device]"), [""; 0]);
    let sources = "unknown_systems = \"accept\"\n[entities.a]\nsurvivorship = { b = { source_priority = [\"crm\"] } }\n[systems.oem]";
    assert_eq!(warnings(sources), ["t.toml:3: entities.a.survivorship.b: system \"crm\" is not configured under [systems]"]);
}
