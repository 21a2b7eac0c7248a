//! What is refused, in exactly which words.

use super::super::{Config, load};
use super::{env, errors};

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    insta::assert_snapshot!(errors("[systems.oem]\nreceits = \"none\""), @r#"t.toml:2: systems.oem.receits: unknown key; did you mean "receipts"?"#);
    insta::assert_snapshot!(errors("[http]\nbanana = 1"), @"t.toml:2: http.banana: unknown key; expected one of listen, allowed_hosts, allow_plain_text, auth, tls");
    insta::assert_snapshot!(errors("[orchestraton]"), @r#"t.toml:1: orchestraton: unknown key; did you mean "orchestration"?"#);
    insta::assert_snapshot!(errors("[entities.a]\nkeys = [{ fields = [\"b\"], normalise = [\"trim\"] }]"), @r#"t.toml:2: entities.a.keys[0].normalise: unknown key; did you mean "normalize"?"#);
}

#[test]
fn values_of_the_wrong_kind_are_explained() {
    insta::assert_snapshot!(errors(r#"
broker = 1
[store]
path = ""
[http]
listen = "localhost"
[orchestration]
push_updates = "yes"
notification_mode = "selectiv"
decision_logging = "some"
retention = { echo = 7 }
dedup_retention = "always"
batch_size = 0
batch_timeout = 5
handler_timeout = { after = "0s", verdict = "drop" }
retry_policy = { initial = "5 minutes", backoff_multiplier = 0.5 }
delete_brake = { count = -1, percent = 101 }
id_cache = "16MB"
[entities.Device]
[entities.a]
keys = [{ normalize = ["lower"] }, { fields = [] }, { fields = ["b", "b"] }]
references = { parent_id = "Device Type" }
sets = ["a..b", "tags", "tags"]
[systems.oem]
echo = "yes"
[systems.oem.entities.a]
values = { status = { active = [] } }
compare = { name = { max_length = 0 }, price = { decimals = 99999999999 } }
"#), @r#"
t.toml:2: broker: expected a table, found a number
t.toml:4: store.path: must not be empty
t.toml:6: http.listen: "localhost" is not an IP address with a port; write one such as "127.0.0.1:7171"
t.toml:8: orchestration.push_updates: expected true or false, found text
t.toml:9: orchestration.notification_mode: "selectiv" is not one of all, selective, none; did you mean "selective"?
t.toml:10: orchestration.decision_logging: "some" is not one of all, changes, none
t.toml:11: orchestration.retention.echo: expected a duration such as "90d", or "never" or "forever", found a number
t.toml:12: orchestration.dedup_retention: "always" is not a duration; write a whole number and ms, s, m, h or d, such as "90d", or "never" or "forever"
t.toml:13: orchestration.batch_size: 0 is out of range; at least 1
t.toml:14: orchestration.batch_timeout: expected a duration such as "5s", found a number
t.toml:15: orchestration.handler_timeout.after: must be longer than zero
t.toml:15: orchestration.handler_timeout.verdict: "drop" is not one of retry, accept, skip, review
t.toml:16: orchestration.retry_policy.initial: "5 minutes" is not a duration; write a whole number and ms, s, m, h or d, such as "5s"
t.toml:16: orchestration.retry_policy.backoff_multiplier: 0.5 is out of range; at least 1, at most 100
t.toml:17: orchestration.delete_brake.count: -1 is out of range; at least 0
t.toml:17: orchestration.delete_brake.percent: 101 is out of range; at least 0, at most 100
t.toml:18: orchestration.id_cache: "16MB" is not a size; write a whole number and B, KiB, MiB or GiB, such as "16MiB"
t.toml:19: entities.Device: entity type "Device" must be 1 to 32 characters of a-z, 0-9, _ and -; did you mean "device"?
t.toml:21: entities.a.keys[0]: "fields" is missing
t.toml:21: entities.a.keys[0].normalize[0]: "lower" is not one of trim, lowercase, digits, collapse_spaces, nfc
t.toml:21: entities.a.keys[1].fields: must not be empty
t.toml:21: entities.a.keys[2].fields[1]: is listed twice; remove one
t.toml:22: entities.a.references.parent_id: entity type "Device Type" must be 1 to 32 characters of a-z, 0-9, _ and -; did you mean "device_type"?
t.toml:23: entities.a.sets[0]: "a..b" is not a field; write names joined with ".", and a "." or "\" inside a name as "\." or "\\"
t.toml:23: entities.a.sets[2]: is listed twice; remove one
t.toml:25: systems.oem.echo: "yes" is not one of auto, true, false
t.toml:27: systems.oem.entities.a.values.status.active: expected text, a finite number, or true or false, found a list
t.toml:28: systems.oem.entities.a.compare.name.max_length: 0 is out of range; at least 1
t.toml:28: systems.oem.entities.a.compare.price.decimals: 99999999999 is out of range; at most 4294967295
"#);
}

#[test]
fn wrong_rules_are_explained() {
    insta::assert_snapshot!(errors(r#"
[entities.a.survivorship]
a = "longets"
b = "source_priority"
c = "source_of_truth"
d = []
e = { rule = "source_priority" }
f = { rule = "lates", sources = ["x"] }
g = { source_of_truth = { system = "erp", fallback = { source_of_truth = { system = "crm" } } } }
h = { source_priority = ["x", "x"], extra = 1 }
address.city = "longest"
i = 1
"#), @r#"
t.toml:3: entities.a.survivorship.a: "longets" is not a rule; did you mean "longest"?
t.toml:4: entities.a.survivorship.b: source_priority needs its sources; write { source_priority = ["a", "b"] }
t.toml:5: entities.a.survivorship.c: source_of_truth needs its system; write { source_of_truth = { system = "a" } }
t.toml:6: entities.a.survivorship.d: must not be empty; leave it out for "latest"
t.toml:7: entities.a.survivorship.e: "sources" is missing
t.toml:8: entities.a.survivorship.f.rule: "lates" is not a rule; did you mean "latest"?
t.toml:9: entities.a.survivorship.g.source_of_truth.fallback: must not be source_of_truth again: there is one truth; use source_priority for an order of systems
t.toml:10: entities.a.survivorship.h.source_priority[1]: is listed twice; remove one
t.toml:10: entities.a.survivorship.h.extra: unknown key; expected one of rule, source_priority
t.toml:11: entities.a.survivorship.address: is neither a rule nor a list of rules; write { rule = "longest" }, and a field inside an object as "address.city", in quotes
t.toml:12: entities.a.survivorship.i: expected a rule: its name, a table or a list of those, found a number
"#);
}

#[test]
fn contradictions_are_explained() {
    insta::assert_snapshot!(errors(r#"
[http]
listen = "0.0.0.0:7171"
[entities.device]
keys = [{ fields = ["serial"] }]
survivorship = { name = { source_priority = ["bsm", "oem"] }, note = { source_of_truth = { system = "erp" } } }
[systems.bms]
[systems.oem.entities.device]
fields = { only = ["name"], exclude = ["note"] }
rename = { name = "label", title = "label", note = "serial", code = "id" }
values = { status = { active = "A", retired = "R", old = "R" }, level = { low = 1, high = 1.0 } }
"#), @r#"
t.toml:3: http.listen: 0.0.0.0:7171 can be reached from other machines and needs [http.auth]; listen on 127.0.0.1
t.toml:6: entities.device.survivorship.name: system "bsm" is not configured under [systems]; did you mean "bms"?
t.toml:6: entities.device.survivorship.note: system "erp" is not configured under [systems]
t.toml:9: systems.oem.entities.device.fields: has both "only" and "exclude"; keep one of them
t.toml:10: systems.oem.entities.device.rename.code: "id" is the native id's field (id_field), which is taken out of the record; use another name
t.toml:10: systems.oem.entities.device.rename.note: the native name "serial" collides with the field "serial"; rename that field, too
t.toml:10: systems.oem.entities.device.rename.title: "label" is already the native name of "name"; give each field its own
t.toml:11: systems.oem.entities.device.values.level.low: 1 already stands for "high"; values must be one to one, to be read back
t.toml:11: systems.oem.entities.device.values.status.retired: "R" already stands for "old"; values must be one to one, to be read back
"#);
}

#[test]
fn addresses_must_not_leave_the_machine_unencrypted_and_are_never_shown() {
    let text = errors(
        r#"
[broker]
kind = "rabbitmq"
url = "amqp://user:hunter2@mq.example.com"
url_file = "secret"
[store]
kind = "mongodb"
[systems.oem]
"#,
    );
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r#"
    t.toml:4: broker.url: leaves this machine without encryption (amqp://); use amqps://, or allow_plain_text = true in a network of your own
    t.toml:5: broker.url_file: stands beside "url"; keep one of them
    t.toml:7: store.kind: needs "url" or "url_file"
    "#);
}

#[test]
fn a_backend_has_one_address() {
    let errors = |text: &str| load::assemble(Some(text), "t.toml", std::iter::empty(), &[]).unwrap_err().to_string();
    insta::assert_snapshot!(errors("[broker]\nurl = \"amqps://h\"\n[store]\nkind = \"mongodb\""), @r#"
    t.toml:2: broker.url: means nothing to the embedded one; set "kind" or leave it out
    t.toml:4: store.kind: needs "url" or "url_file"
    "#);
    insta::assert_snapshot!(errors("[broker]\nkind = \"rabbitmq\"\nurl = \"mq\"\nurl_file = \"f\"\n[store]\nurl_file = \"f\""), @r#"
    t.toml:3: broker.url: is not an address; write amqps://host
    t.toml:4: broker.url_file: stands beside "url"; keep one of them
    t.toml:6: store.url_file: means nothing to the embedded one; set "kind" or leave it out
    "#);
    insta::assert_snapshot!(errors("[broker]\nkind = \"rabbitmq\"\nurl = \"amqps://h\"\nprefix = \"amq.x\""), @r#"t.toml:4: broker.prefix: must be 1 to 200 bytes of text that does not begin with "amq.""#);
    insta::assert_snapshot!(errors("[store]\nkind = \"mongodb\"\nurl = \"mongodb://db.example.com\""), @"t.toml:3: store.url: leaves this machine without encryption (mongodb://); use mongodb+srv:// or add tls=true, or allow_plain_text = true in a network of your own");
}

#[test]
fn who_has_a_network_of_their_own_may_say_so() {
    let text = "[broker]\nkind = \"rabbitmq\"\nurl = \"amqp://mq\"\nallow_plain_text = true\n\
                [store]\nkind = \"mongodb\"\nurl = \"mongodb://db\"\nallow_plain_text = true";
    load::assemble(Some(text), "t.toml", std::iter::empty(), &[]).unwrap();
    let embedded = "[broker]\nallow_plain_text = true\n[store]\nallow_plain_text = true";
    insta::assert_snapshot!(errors(embedded), @r#"
    t.toml:2: broker.allow_plain_text: means nothing to the embedded one; set "kind" or leave it out
    t.toml:4: store.allow_plain_text: means nothing to the embedded one; set "kind" or leave it out
    "#);
}

#[test]
fn an_update_is_known_at_least_as_long_as_its_row() {
    let text = "[orchestration]\nretention = { default = \"30d\" }\ndedup_retention = \"29d\"";
    insta::assert_snapshot!(errors(text), @r#"t.toml:3: orchestration.dedup_retention: is shorter than "retention": a decision would still be shown while its message, delivered again, counts as new; make it at least as long"#);
    assert_eq!(errors("[orchestration]\nretention = { default = \"forever\" }\ndedup_retention = \"900d\"").lines().count(), 1);
}

#[test]
fn the_brokers_own_name_is_taken() {
    insta::assert_snapshot!(errors("[systems.syncline]"), @"t.toml:1: systems.syncline: is the name of the broker's own decisions; give the system another");
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    insta::assert_snapshot!(errors(r#"
[broker]
partitions = 4
[orchestration]
decision_logging = "changes"
retention = { default = "30d", unchanged = "168h" }
dedup_retention = "30d"
review_timeout = { after = "1d" }
create_brake = { count = 10, window = "60s" }
delete_brake = { percent = 6 }
create_settle = "1m"
tombstone_retention = "forever"
events = true
[entities.device]
on_parent_delete = "cascade"
delete = { policy = "unlink", conflict = "update_revives" }
redact = ["phone"]
duplicates = "link"
[systems.oem]
mode = "observe"
amqp_user = "oem-adapter"
[systems.oem.entities.device]
on_reject = "compensate"
"#), @r#"
t.toml:3: broker.partitions: means nothing to the embedded one; set "kind" or leave it out
t.toml:18: entities.device.duplicates: "link" is not available in this version; leave it at "park"
"#);
}

#[test]
fn whom_other_machines_may_reach_is_said_in_full() {
    insta::assert_snapshot!(errors(r#"
[http]
listen = "0.0.0.0:7171"
allowed_hosts = ["https://syncline.example.com", "syncline"]
[http.auth]
tokens_file = "tokens.toml"
"#), @r#"
    t.toml:3: http.listen: 0.0.0.0:7171 can be reached from other machines, and tokens would leave this one without encryption; add [http.tls], or allow_plain_text = true where something before it encrypts
    t.toml:4: http.allowed_hosts[0]: "https://syncline.example.com" is no name of a machine; write one without scheme and port, such as "syncline.example.com"
    "#);
    insta::assert_snapshot!(errors("[http]\nallowed_hosts = [\"syncline\"]"), @"t.toml:2: http.allowed_hosts: whoever comes by another name than localhost has to prove who they are; add [http.auth]");
    let open = "[http]\nlisten = \"0.0.0.0:7171\"\nallow_plain_text = true\n[http.auth]\ntokens_file = \"tokens.toml\"";
    assert_eq!(super::warnings(open).len(), 1);
    assert_eq!(super::warnings(&open.replace("allow_plain_text", "allowed_hosts = [\"syncline\"]\nallow_plain_text")).len(), 0);
    assert!(errors("[http.tls]\ncert_file = \"c.pem\"").contains("t.toml:1: http.tls: \"key_file\" is missing"));
}

#[test]
fn broken_toml_is_reported_alone_and_in_full() {
    insta::assert_snapshot!(errors("a = \nb = 1\n[systems.oem\nreceits = 1\nb = 2\n"), @r#"
    t.toml:1: not valid TOML: string values must be quoted, expected literal string
    t.toml:3: not valid TOML: unclosed table, expected `]`
    t.toml:5: not valid TOML: duplicate key
    "#);
}

#[test]
fn the_environment_is_named_where_it_is_at_fault() {
    let variables = [
        ("SYNCLINE__HTTP__LISTEN", "8080"),
        ("SYNCLINE__UNKNOWN_SYSTEMS", "acept"),
        ("SYNCLINE__STORE__PATH__X", "1"),
        ("SYNCLINE__", "1"),
        ("SYNCLINE__ORCHESTRATION__EVENTS", "false"),
        ("Syncline__orchestration__events", "true"),
        ("SYNCLINE__BROKER__URL", "amqp://user:hunter2@localhost"),
        ("SYNCLINE__BROKR", "1"),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[store]\npath = \"x\"\n").unwrap();
    let text = Config::load(file.path(), env(&variables)).unwrap_err().to_string().replace(&file.path().display().to_string(), "t.toml");
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r#"
    environment variable SYNCLINE__: names no key; write SYNCLINE__SECTION__KEY=value
    environment variable SYNCLINE__BROKER__URL: broker.url: means nothing to the embedded one; set "kind" or leave it out
    environment variable SYNCLINE__BROKR: brokr: unknown key; did you mean "broker"?
    environment variable SYNCLINE__HTTP__LISTEN: http.listen: "8080" is not an IP address with a port; write one such as "127.0.0.1:7171"
    environment variable SYNCLINE__STORE__PATH__X: store.path: is text, so nothing can be set below it
    environment variable SYNCLINE__UNKNOWN_SYSTEMS: unknown_systems: "acept" is not one of accept, reject, auto; did you mean "accept"?
    environment variable Syncline__orchestration__events: orchestration.events: also set by environment variable SYNCLINE__ORCHESTRATION__EVENTS; keep one
    "#);
}

#[test]
fn several_problems_come_in_line_order() {
    let errors = Config::from_toml("[systems.oem]\nreceits = 1\n[broker]\nkind = \"kafka\"\n[store]\nkin = 1\n", "config/syncline.toml")
        .unwrap_err();
    assert_eq!(errors.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [Some(2), Some(4), Some(6)]);
    assert_eq!(
        errors.to_string(),
        "config/syncline.toml:2: systems.oem.receits: unknown key; did you mean \"receipts\"?\n\
         config/syncline.toml:4: broker.kind: \"kafka\" is not one of embedded, rabbitmq\n\
         config/syncline.toml:6: store.kin: unknown key; did you mean \"kind\"?"
    );
}

#[test]
fn limits_can_be_raised_as_far_as_a_store_can_keep_what_they_let_in() {
    let text = "[limits]\nmessage = \"5MiB\"\nnesting = 100\nfields = 0\nfield_name = \"2KiB\"\nnative_id = \"181B\"\nid = 12\nsize = 3";
    insta::assert_snapshot!(errors(text), @r#"
    t.toml:2: limits.message: 5242880 bytes is out of range; 1024 to 4194304 bytes
    t.toml:3: limits.nesting: 100 is out of range; 4 to 90
    t.toml:4: limits.fields: 0 is out of range; 16 to 10000
    t.toml:5: limits.field_name: 2048 bytes is out of range; 16 to 1024 bytes
    t.toml:6: limits.native_id: 181 bytes is out of range; 16 to 180 bytes
    t.toml:7: limits.id: expected a size such as "16MiB", found a number
    t.toml:8: limits.size: unknown key; expected one of message, field_name, native_id, id, key_value, nesting, fields
    "#);
    let text = "[limits]\nmessage = \"4MiB\"\nnesting = 90\nfields = 10000\nfield_name = \"1KiB\"\nnative_id = \"20B\"";
    let config = load::assemble(Some(text), "t.toml", std::iter::empty(), &[]).unwrap();
    assert_eq!((config.limits.message.bytes(), config.limits.fields, config.limits.native_id.bytes()), (4 << 20, 10_000, 20));
    let usual = "[limits]\nmessage = \"1MiB\"\nnesting = 64\nfields = 1000";
    let usual = load::assemble(Some(usual), "t.toml", std::iter::empty(), &[]).unwrap();
    assert_eq!(usual.hash(), crate::config::Config::default().hash());
    assert_ne!(config.hash(), usual.hash(), "others may be taken");
}
