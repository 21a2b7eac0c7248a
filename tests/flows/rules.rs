//! Rules and handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use syncline::domain::change::Record;
use syncline::domain::handler::{UpdateMeta, Verdict};

use crate::support::{Scene, patch, whole};

/// Three systems that take no creates; `RULES` and `MORE` are filled in.
const THINGS: &str = r#"
[orchestration]
push_updates = true
retry_policy = { max_attempts = 3, initial = "1s", backoff_multiplier = 2 }
[entities.thing]
keys = [{ fields = ["k"] }]
RULES
[systems.a.entities.thing]
create = false
[systems.b.entities.thing]
create = false
[systems.c.entities.thing]
create = false
"#;

fn rules(rules: &str) -> String {
    THINGS.replace("RULES", rules)
}

fn thing(value: &Value) -> Value {
    json!({"k": "1", "x": value})
}

/// All three know the thing with this value.
fn known(rules_: &str, value: &Value) -> Scene {
    let mut scene = Scene::with(&rules(rules_)).start();
    for system in ["a", "b", "c"] {
        scene.says(system, "thing", "1", thing(value));
    }
    scene.skip_ahead();
    scene
}

/// Each says its value, having seen nothing of the others'.
fn say(scene: &mut Scene, said: &[(&str, Value)]) {
    for (system, value) in said {
        scene.send(whole(system, "thing", "1", thing(value)).base(0));
    }
}

fn value_of(scene: &Scene) -> Value {
    let records = scene.ask(async |store| store.list_records(None, None, 10).await);
    Value::Object(records[0].record.data.close())["x"].clone()
}

#[test]
fn s21_a_shorter_name_is_kept_out() {
    let mut scene = known("survivorship = { x = \"longest\" }", &json!("Jonathan"));
    scene.says("b", "thing", "1", json!({"k": "1", "x": "Jon", "phone": "5"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u4 b thing 1 {"k":"1","phone":"5","x":"Jon"}
      b:u4 partially_accepted: taken: phone; x stays 'Jonathan' from a (longest) | by Rule longest | modified_fields: x
      = <thing 1> v2 {"k":"1","phone":"5","x":"Jonathan"} [a 1, b 1, c 1]
      → a: update thing 1 rev 1 {"id":"1","k":"1","phone":"5","x":"Jonathan"} changed: phone
      → b: update thing 1 rev 1 {"id":"1","k":"1","phone":"5","x":"Jonathan"} changed: x
      → c: update thing 1 rev 1 {"id":"1","k":"1","phone":"5","x":"Jonathan"} changed: phone
    "#);
}

#[test]
fn s21_the_same_by_a_handler() {
    let keep = |proposed: &mut Record, current: Option<&Record>, _: &UpdateMeta| {
        let length = |record: &Record| record["x"].as_str().unwrap_or_default().len();
        if let Some(current) = current.filter(|current| length(current) > length(proposed)) {
            proposed["x"] = current["x"].clone();
        }
        Verdict::accept("the longer name stays")
    };
    let mut scene = Scene::with(&rules("")).handler("thing", keep).start();
    scene.says("a", "thing", "1", json!({"k": "1", "x": "Jonathan"}));
    scene.says("a", "thing", "1", json!({"k": "1", "x": "Jon", "phone": "5"}));
    scene.says("a", "thing", "1", json!({"k": "1", "x": "Jo", "phone": "5"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 a thing 1 {"k":"1","x":"Jonathan"}
      a:u1 accepted: the longer name stays; a new record from a | by Handler thing
      = <thing 1> v1 {"k":"1","x":"Jonathan"} [a 1]
    u2 a thing 1 {"k":"1","phone":"5","x":"Jon"}
      a:u2 partially_accepted: the longer name stays; taken: phone; x stays 'Jonathan' from a (handler thing) | by Handler thing | modified_fields: x
      = <thing 1> v2 {"k":"1","phone":"5","x":"Jonathan"} [a 1]
      → a: update thing 1 rev 1 {"id":"1","k":"1","phone":"5","x":"Jonathan"} changed: x
    u3 a thing 1 {"k":"1","phone":"5","x":"Jo"}
      a:u3 dropped: the longer name stays; x stays 'Jonathan' from a (handler thing) | by Handler thing | modified_fields: x
        conflict x: base assumed, ours "Jonathan" (a), theirs "Jo" → handler (thing)
      → a: update thing 1 rev 2 {"id":"1","k":"1","phone":"5","x":"Jonathan"} changed: x
    "#);
}

fn deprecated(_: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    if meta.source() == "b" && !meta.changed().is_empty() { Verdict::skip("system is deprecated") } else { Verdict::accept(None) }
}

#[test]
fn s22_case_skip_corrects_the_source() {
    let mut scene = Scene::with(&rules("")).handler("thing", deprecated).start();
    scene.says("a", "thing", "1", thing(&json!("good")));
    scene.says("b", "thing", "1", thing(&json!("good")));
    scene.says("b", "thing", "1", thing(&json!("bad")));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 a thing 1 {"k":"1","x":"good"}
      a:u1 accepted: a new record from a | by Handler thing
      = <thing 1> v1 {"k":"1","x":"good"} [a 1]
    u2 b thing 1 {"k":"1","x":"good"}
      b:u2 unchanged: the same thing as in a: a new link, nothing new in it
      = <thing 1> v1 {"k":"1","x":"good"} [a 1, b 1]
    u3 b thing 1 {"k":"1","x":"bad"}
      b:u3 dropped: system is deprecated | by Handler thing | modified_fields: x
      → b: update thing 1 rev 1 {"id":"1","k":"1","x":"good"} changed: x
    "#);
}

#[test]
fn s22_case_skip_corrects_no_source_with_direction_in() {
    let config = rules("").replace("[systems.b.entities.thing]", "[systems.b.entities.thing]\ndirection = \"in\"");
    let mut scene = Scene::with(&config).handler("thing", deprecated).start();
    scene.says("a", "thing", "1", thing(&json!("good")));
    scene.says("b", "thing", "1", thing(&json!("good")));
    scene.says("b", "thing", "1", thing(&json!("bad")));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 a thing 1 {"k":"1","x":"good"}
      a:u1 accepted: a new record from a | by Handler thing
      = <thing 1> v1 {"k":"1","x":"good"} [a 1]
    u2 b thing 1 {"k":"1","x":"good"}
      b:u2 unchanged: the same thing as in a: a new link, nothing new in it
      = <thing 1> v1 {"k":"1","x":"good"} [a 1, b 1]
    u3 b thing 1 {"k":"1","x":"bad"}
      b:u3 dropped: system is deprecated | by Handler thing | modified_fields: x
    "#);
}

#[test]
fn s23_a_handler_replaces_the_whole_record() {
    let replace = |proposed: &mut Record, _: Option<&Record>, _: &UpdateMeta| {
        *proposed = json!({"k": "1", "made": {"by": "handler"}}).as_object().unwrap().clone();
        Verdict::accept(None)
    };
    let mut scene = Scene::with(&rules("")).handler("thing", replace).start();
    scene.says("a", "thing", "1", json!({"k": "1", "x": "gone", "y": {"z": 1}}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 a thing 1 {"k":"1","x":"gone","y":{"z":1}}
      a:u1 partially_accepted: a new record from a; x is left out (handler thing) and y.z is left out (handler thing) | by Handler thing | modified_fields: x, y.z, made.by
      = <thing 1> v1 {"k":"1","made":{"by":"handler"}} [a 1]
      → a: update thing 1 rev 1 {"id":"1","k":"1","made":{"by":"handler"},"x":null,"y":{"z":null}} changed: made.by, x, y.z
    "#);
}

/// Fails while `failures` last.
fn failing(failures: u32) -> impl Fn(&mut Record, Option<&Record>, &UpdateMeta) -> Verdict + Send + Sync + 'static {
    let left = Arc::new(AtomicU32::new(failures));
    move |proposed, _, _| {
        if proposed["x"] == "trouble" && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            panic!("boom");
        }
        Verdict::accept(None)
    }
}

#[test]
fn s24_fails_twice_and_then_succeeds() {
    let mut scene = Scene::with(&rules("")).handler("thing", failing(2)).start();
    scene.says("a", "thing", "1", thing(&json!("trouble")));
    scene.says("b", "thing", "2", json!({"k": "2", "x": "fine"}));
    scene.wait(Duration::from_secs(1));
    scene.wait(Duration::from_secs(1));
    scene.wait(Duration::from_secs(1));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 a thing 1 {"k":"1","x":"trouble"}
      a:u1 deferred (time): the handler failed (attempt 1 of 3): the handler panicked: boom; it is tried again
    u2 b thing 2 {"k":"2","x":"fine"}
      b:u2 accepted: a new record from b | by Handler thing
      = <thing 1> v1 {"k":"2","x":"fine"} [b 2]
    … 1s later
      a:u1 deferred (time): the handler failed (attempt 2 of 3): the handler panicked: boom; it is tried again | attempt 2
    … 1s later
    … 1s later
      a:u1 accepted: a new record from a | by Handler thing | attempt 3
      = <thing 2> v1 {"k":"1","x":"trouble"} [a 1]
    "#);
}

#[test]
fn s25_panics_always() {
    let mut scene = Scene::with(&rules("")).handler("thing", failing(99)).start();
    scene.says("a", "thing", "1", thing(&json!("fine")));
    scene.says("a", "thing", "1", thing(&json!("trouble")));
    scene.wait(Duration::from_secs(5));
    scene.wait(Duration::from_secs(5));
    scene.says("a", "thing", "1", thing(&json!("fine again")));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 a thing 1 {"k":"1","x":"fine"}
      a:u1 accepted: a new record from a | by Handler thing
      = <thing 1> v1 {"k":"1","x":"fine"} [a 1]
    u2 a thing 1 {"k":"1","x":"trouble"}
      a:u2 deferred (time): the handler failed (attempt 1 of 3): the handler panicked: boom; it is tried again
    … 5s later
      a:u2 deferred (time): the handler failed (attempt 2 of 3): the handler panicked: boom; it is tried again | attempt 2
    … 5s later
      dead letter a:u2 handler_failed: the handler failed 3 times, the last time: the handler panicked: boom; mend it, then requeue this message
    u3 a thing 1 {"k":"1","x":"fine again"}
      a:u3 accepted: taken: x | by Handler thing
      = <thing 1> v2 {"k":"1","x":"fine again"} [a 1]
    "#);
}

#[test]
fn s24_a_record_that_does_not_fit_the_handlers_type() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Numbered {
        x: i64,
    }
    let nothing = |_: &mut Numbered, _: Option<&Numbered>, _: &UpdateMeta| Verdict::accept(None);
    let config = rules("").replace("max_attempts = 3", "max_attempts = 1");
    let mut scene = Scene::with(&config).handler("thing", nothing).start();
    scene.says("a", "thing", "1", thing(&json!("no number")));
    scene.says("a", "thing", "1", thing(&json!(1)));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 a thing 1 {"k":"1","x":"no number"}
      dead letter a:u1 handler_failed: the handler failed 1 times, the last time: the proposed record does not fit the handler's type: invalid type: string "no number", expected i64; mend it, then requeue this message
    u2 a thing 1 {"k":"1","x":1}
      a:u2 accepted: a new record from a | by Handler thing
      = <thing 1> v1 {"k":"1","x":1} [a 1]
    "#);
}

#[test]
fn a_handler_that_takes_too_long() {
    let sleepy = |_: &mut Record, _: Option<&Record>, _: &UpdateMeta| {
        std::thread::sleep(Duration::from_millis(200));
        Verdict::accept("too late")
    };
    let mut stories = Vec::new();
    for verdict in ["retry", "accept", "skip", "review"] {
        let config = rules("")
            .replace("[entities.thing]", &format!("handler_timeout = {{ after = \"20ms\", verdict = \"{verdict}\" }}\n[entities.thing]"));
        let mut scene = Scene::with(&config).handler("thing", sleepy).start();
        scene.says("a", "thing", "1", thing(&json!(1)));
        stories.push(format!("{verdict}\n{}", scene.story()));
    }
    insta::assert_snapshot!(stories.join("\n"), @r#"
    retry
    u1 a thing 1 {"k":"1","x":1}
      a:u1 deferred (time): the handler failed (attempt 1 of 3): the handler took longer than 20ms; it is tried again
    accept
    u1 a thing 1 {"k":"1","x":1}
      a:u1 accepted: the handler took longer than 20ms; a new record from a | by Timeout thing
      = <thing 1> v1 {"k":"1","x":1} [a 1]
    skip
    u1 a thing 1 {"k":"1","x":1}
      a:u1 dropped: the handler took longer than 20ms | by Timeout thing | modified_fields: k, x
    review
    u1 a thing 1 {"k":"1","x":1}
      a:u1 parked (review): the handler took longer than 20ms | by Timeout thing
    "#);
}

#[test]
fn s27_source_of_truth() {
    let mut scene = Scene::with(&rules("survivorship = { x = { source_of_truth = { system = \"b\", fallback = \"max\" } } }")).start();
    scene.says("a", "thing", "1", thing(&json!(5)));
    scene.says("c", "thing", "1", thing(&json!(3)));
    scene.says("c", "thing", "1", thing(&json!(9)));
    scene.says("b", "thing", "1", thing(&json!(1)));
    scene.says("c", "thing", "1", thing(&json!(10)));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 a thing 1 {"k":"1","x":5}
      a:u1 accepted: a new record from a; x by source_of_truth: b has not spoken yet, so max
      = <thing 1> v1 {"k":"1","x":5} [a 1]
    u2 c thing 1 {"k":"1","x":3}
      c:u2 dropped: the same thing as in a: c joins it; x stays 5 from a (source_of_truth: b has not spoken yet, so max) | by Rule source_of_truth: b has not spoken yet, so max | modified_fields: x
        conflict x: base none, ours 5 (a), theirs 3 → ours (source_of_truth: b has not spoken yet, so max)
      = <thing 1> v1 {"k":"1","x":5} [a 1, c 1]
      → c: update thing 1 rev 1 {"id":"1","k":"1","x":5} changed: x
    u3 c thing 1 {"k":"1","x":9}
      c:u3 accepted: taken: x; x by source_of_truth: b has not spoken yet, so max
        conflict x: base assumed, ours 5 (a), theirs 9 → theirs (source_of_truth: b has not spoken yet, so max)
      = <thing 1> v2 {"k":"1","x":9} [a 1, c 1]
      → a: update thing 1 rev 1 {"id":"1","k":"1","x":9} changed: x
      → c: update thing 1 rev 2 {"id":"1","k":"1","x":9} changed: x
    u4 b thing 1 {"k":"1","x":1}
      b:u4 accepted: the same thing as in a and c: b joins it; taken: x
        conflict x: base none, ours 9 (c), theirs 1 → theirs (source_of_truth: b)
      = <thing 1> v3 {"k":"1","x":1} [a 1, c 1, b 1]
      → a: update thing 1 rev 2 {"id":"1","k":"1","x":1} changed: x
      → c: update thing 1 rev 3 {"id":"1","k":"1","x":1} changed: x
    u5 c thing 1 {"k":"1","x":10}
      c:u5 dropped: x stays 1 from b (source_of_truth: b) | by Rule source_of_truth: b | modified_fields: x
        conflict x: base assumed, ours 1 (b), theirs 10 → ours (source_of_truth: b)
      → c: update thing 1 rev 4 {"id":"1","k":"1","x":1} changed: x
    "#);
}

#[test]
fn s28_the_same_result_in_any_order() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let cases = [
        ("min", json!(50), [json!(7), json!(3), json!(9)], json!(3)),
        ("max", json!(0), [json!(7), json!(3), json!(9)], json!(9)),
        ("longest", json!("a"), [json!("abc"), json!("abcd"), json!("ab")], json!("abcd")),
        ("shortest", json!("abcdef"), [json!("abc"), json!("abcd"), json!("ab")], json!("ab")),
        ("union", json!(["1"]), [json!(["1", "2"]), json!(["1", "3"]), json!(["4"])], json!(["1", "2", "3", "4"])),
        ("sum_delta", json!(10), [json!(11), json!(8), json!(15)], json!(14)),
    ];
    for (rule, base, said, wanted) in cases {
        for order in orders {
            let mut scene = known(&format!("survivorship = {{ x = \"{rule}\" }}"), &base);
            let systems = ["a", "b", "c"];
            for at in order {
                say(&mut scene, &[(systems[at], said[at].clone())]);
            }
            let mut value = value_of(&scene);
            if let Some(list) = value.as_array_mut() {
                list.sort_by_key(ToString::to_string);
            }
            assert_eq!(value, wanted, "{rule} {order:?}\n{}", scene.story());
        }
    }
}

#[test]
fn s29_an_older_event_arrives_later() {
    let trust = |name: &str| format!("[systems.{name}]\ntrust_time = true\n[systems.{name}.entities.thing]");
    let config = rules("").replace("[systems.a.entities.thing]", &trust("a")).replace("[systems.b.entities.thing]", &trust("b"));
    let mut scene = Scene::with(&config).start();
    scene.says("a", "thing", "1", thing(&json!("old")));
    scene.says("b", "thing", "1", thing(&json!("old")));
    scene.wait(Duration::from_secs(60));
    scene.skip_ahead();
    scene.send(whole("a", "thing", "1", thing(&json!("newer"))).base(0).at(50));
    scene.send(whole("b", "thing", "1", thing(&json!("older"))).base(0).at(40));
    // A clock that is ahead counts as now.
    scene.send(whole("b", "thing", "1", thing(&json!("from the future"))).base(1).at(1000));
    scene.wait(Duration::from_secs(1));
    scene.says("a", "thing", "1", thing(&json!("last")));
    insta::assert_snapshot!(scene.story(), @r#"
    u3 a thing 1 {"k":"1","x":"newer"} base=0 occurred_at=2026-01-01T00:00:50Z
      a:u3 accepted: taken: x
      = <thing 1> v2 {"k":"1","x":"newer"} [a 1, b 1]
      → b: update thing 1 rev 1 {"id":"1","k":"1","x":"newer"} changed: x
    u4 b thing 1 {"k":"1","x":"older"} base=0 occurred_at=2026-01-01T00:00:40Z
      b:u4 dropped: x stays 'newer' from a | modified_fields: x
        conflict x: base "old", ours "newer" (a), theirs "older" → ours (latest)
    u5 b thing 1 {"k":"1","x":"from the future"} base=1 occurred_at=2026-01-01T00:16:40Z
      b:u5 accepted: taken: x
      = <thing 1> v3 {"k":"1","x":"from the future"} [a 1, b 1]
      → a: update thing 1 rev 1 {"id":"1","k":"1","x":"from the future"} changed: x
    … 1s later
    u6 a thing 1 {"k":"1","x":"last"}
      a:u6 accepted: taken: x
        conflict x: base assumed, ours "from the future" (b), theirs "last" → theirs (latest)
      = <thing 1> v4 {"k":"1","x":"last"} [a 1, b 1]
      → a: update thing 1 rev 2 {"id":"1","k":"1","x":"last"} changed: x
      → b: update thing 1 rev 2 {"id":"1","k":"1","x":"last"} changed: x
    "#);
}

#[test]
fn sum_delta_adds_what_each_changed() {
    let mut scene = known("survivorship = { x = \"sum_delta\" }", &json!(10));
    say(&mut scene, &[("a", json!(12)), ("b", json!(9))]);
    insta::assert_snapshot!(scene.story(), @r#"
    u4 a thing 1 {"k":"1","x":12} base=0
      a:u4 accepted: taken: x
      = <thing 1> v2 {"k":"1","x":12} [a 1, b 1, c 1]
      → b: update thing 1 rev 1 {"id":"1","k":"1","x":12} changed: x
      → c: update thing 1 rev 1 {"id":"1","k":"1","x":12} changed: x
    u5 b thing 1 {"k":"1","x":9} base=0
      b:u5 partially_accepted: x becomes 11 (sum_delta) | by Rule sum_delta | modified_fields: x
        conflict x: base 10, ours 12 (a), theirs 9 → handler (sum_delta)
      = <thing 1> v3 {"k":"1","x":11} [a 1, b 1, c 1]
      → a: update thing 1 rev 1 {"id":"1","k":"1","x":11} changed: x
      → b: update thing 1 rev 2 {"id":"1","k":"1","x":11} changed: x
      → c: update thing 1 rev 2 {"id":"1","k":"1","x":11} changed: x
    "#);
}

#[test]
fn source_priority_and_non_empty_in_a_chain() {
    let rule = "survivorship = { x = [\"non_empty\", { source_priority = [\"a\", \"b\"] }] }";
    let mut scene = Scene::with(&rules(rule)).start();
    scene.says("b", "thing", "1", thing(&json!("")));
    scene.says("c", "thing", "1", thing(&json!("from c")));
    scene.says("b", "thing", "1", thing(&json!("from b")));
    scene.says("c", "thing", "1", thing(&json!("from c again")));
    scene.says("a", "thing", "1", thing(&json!("from a")));
    scene.says("b", "thing", "1", thing(&json!("b once more")));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 b thing 1 {"k":"1","x":""}
      b:u1 accepted: a new record from b
      = <thing 1> v1 {"k":"1","x":""} [b 1]
    u2 c thing 1 {"k":"1","x":"from c"}
      c:u2 accepted: the same thing as in b: c joins it; taken: x
        conflict x: base none, ours "" (b), theirs "from c" → theirs (non_empty)
      = <thing 1> v2 {"k":"1","x":"from c"} [b 1, c 1]
      → b: update thing 1 rev 1 {"id":"1","k":"1","x":"from c"} changed: x
    u3 b thing 1 {"k":"1","x":"from b"}
      b:u3 accepted: taken: x
        conflict x: base assumed, ours "from c" (c), theirs "from b" → theirs (source_priority)
      = <thing 1> v3 {"k":"1","x":"from b"} [b 1, c 1]
      → b: update thing 1 rev 2 {"id":"1","k":"1","x":"from b"} changed: x
      → c: update thing 1 rev 1 {"id":"1","k":"1","x":"from b"} changed: x
    u4 c thing 1 {"k":"1","x":"from c again"}
      c:u4 dropped: x stays 'from b' from b (source_priority) | by Rule source_priority | modified_fields: x
        conflict x: base assumed, ours "from b" (b), theirs "from c again" → ours (source_priority)
      → c: update thing 1 rev 2 {"id":"1","k":"1","x":"from b"} changed: x
    u5 a thing 1 {"k":"1","x":"from a"}
      a:u5 accepted: the same thing as in b and c: a joins it; taken: x
        conflict x: base none, ours "from b" (b), theirs "from a" → theirs (source_priority)
      = <thing 1> v4 {"k":"1","x":"from a"} [b 1, c 1, a 1]
      → b: update thing 1 rev 3 {"id":"1","k":"1","x":"from a"} changed: x
      → c: update thing 1 rev 3 {"id":"1","k":"1","x":"from a"} changed: x
    u6 b thing 1 {"k":"1","x":"b once more"}
      b:u6 dropped: x stays 'from a' from a (source_priority) | by Rule source_priority | modified_fields: x
        conflict x: base assumed, ours "from a" (a), theirs "b once more" → ours (source_priority)
      → b: update thing 1 rev 4 {"id":"1","k":"1","x":"from a"} changed: x
    "#);
}

#[test]
fn the_first_value_stays_but_its_own_source_may_mend_it() {
    let mut scene = known("survivorship = { x = \"first\" }", &json!("typo"));
    say(&mut scene, &[("b", json!("other"))]);
    say(&mut scene, &[("a", json!("mended"))]);
    insta::assert_snapshot!(scene.story(), @r#"
    u4 b thing 1 {"k":"1","x":"other"} base=0
      b:u4 dropped: x stays 'typo' from a (first) | by Rule first | modified_fields: x
      → b: update thing 1 rev 1 {"id":"1","k":"1","x":"typo"} changed: x
    u5 a thing 1 {"k":"1","x":"mended"} base=0
      a:u5 accepted: taken: x
      = <thing 1> v2 {"k":"1","x":"mended"} [a 1, b 1, c 1]
      → b: update thing 1 rev 2 {"id":"1","k":"1","x":"mended"} changed: x
      → c: update thing 1 rev 1 {"id":"1","k":"1","x":"mended"} changed: x
    "#);
}

#[test]
fn first_contact_modes() {
    let mut stories = Vec::new();
    for mode in ["fill", "rules", "overwrite"] {
        let config = rules("survivorship = { size = \"max\" }")
            .replace("push_updates = true", &format!("push_updates = false\nfirst_contact = \"{mode}\""));
        let mut scene = Scene::with(&config).start();
        scene.says("a", "thing", "1", json!({"k": "1", "x": "here", "size": 5, "gap": null}));
        scene.skip_ahead();
        scene.says("b", "thing", "1", json!({"k": "1", "x": "stale", "size": 7, "gap": 1, "new": true}));
        stories.push(format!("{mode}\n{}", scene.story()));
    }
    insta::assert_snapshot!(stories.join("\n"), @r#"
    fill
    u2 b thing 1 {"gap":1,"k":"1","new":true,"size":7,"x":"stale"}
      b:u2 partially_accepted: the same thing as in a: b joins it; taken: gap, new and size; x stays 'here' from a (first_contact: fill) | by Rule first_contact: fill | modified_fields: x
        conflict size: base none, ours 5 (a), theirs 7 → theirs (max)
        conflict x: base none, ours "here" (a), theirs "stale" → ours (first_contact: fill)
      = <thing 1> v2 {"gap":1,"k":"1","new":true,"size":7,"x":"here"} [a 1, b 1]
    rules
    u2 b thing 1 {"gap":1,"k":"1","new":true,"size":7,"x":"stale"}
      b:u2 accepted: the same thing as in a: b joins it; taken: gap, new, size and x
        conflict size: base none, ours 5 (a), theirs 7 → theirs (max)
        conflict x: base none, ours "here" (a), theirs "stale" → theirs (latest)
      = <thing 1> v2 {"gap":1,"k":"1","new":true,"size":7,"x":"stale"} [a 1, b 1]
    overwrite
    u2 b thing 1 {"gap":1,"k":"1","new":true,"size":7,"x":"stale"}
      b:u2 accepted: the same thing as in a: b joins it; taken: gap, new, size and x
        conflict size: base none, ours 5 (a), theirs 7 → theirs (latest)
        conflict x: base none, ours "here" (a), theirs "stale" → theirs (latest)
      = <thing 1> v2 {"gap":1,"k":"1","new":true,"size":7,"x":"stale"} [a 1, b 1]
    "#);
}

/// Who joins later overwrites nothing, unless a declared rule decides for it: that it came later is none.
#[test]
fn on_first_contact_only_a_rule_that_decides_overwrites() {
    let chains = [
        ("\"non_empty\"", "good", "stale", "good"),
        ("[\"non_empty\", \"latest\"]", "good", "stale", "good"),
        ("\"latest\"", "good", "stale", "good"),
        ("{ rule = \"source_of_truth\", system = \"c\" }", "good", "stale", "good"),
        ("\"longest\"", "good", "longer", "longer"),
        ("\"non_empty\"", "", "stale", "stale"),
    ];
    for (chain, ours, theirs, survivor) in chains {
        let mut scene = Scene::with(&rules(&format!("survivorship = {{ x = {chain} }}"))).start();
        scene.says("a", "thing", "1", thing(&json!(ours)));
        scene.says("b", "thing", "1", thing(&json!(theirs)));
        assert_eq!(value_of(&scene), survivor, "{chain}: {}", scene.story());
    }
}

#[test]
fn the_row_names_the_rule_that_refused() {
    let survivorship = "survivorship = { a = \"longest\", b = { rule = \"source_priority\", sources = [\"a\", \"b\"] } }";
    let mut scene = Scene::with(&rules(survivorship)).start();
    scene.says("a", "thing", "1", json!({"k": "1", "a": "long", "b": "B"}));
    scene.says("b", "thing", "1", json!({"k": "1"}));
    scene.skip_ahead();
    scene.send(patch("b", "thing", "1", json!({"a": "longer", "b": "C"})));
    let story = scene.story();
    assert!(story.contains("partially_accepted") && story.contains("by Rule source_priority"), "{story}");
}

#[test]
fn of_two_that_are_not_listed_the_first_keeps_its_value() {
    let mut scene = Scene::with(
        "
[entities.device]
keys = [{ fields = [\"serial\"] }]
survivorship = { name = { rule = \"source_priority\", sources = [\"erp\"] } }
",
    )
    .start();
    scene.says("crm", "device", "c1", json!({"serial": "SN-1", "name": "A"}));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1"}));
    scene.says("bms", "device", "b1", json!({"serial": "SN-1", "name": "B"}));
    scene.says("crm", "device", "c1", json!({"serial": "SN-1", "name": "C"}));
    scene.says("erp", "device", "e1", json!({"serial": "SN-1"}));
    scene.says("erp", "device", "e1", json!({"serial": "SN-1", "name": "E"}));
    scene.says("crm", "device", "c1", json!({"serial": "SN-1", "name": "D"}));
    insta::assert_snapshot!(scene.story(), @r#"
    u1 crm device c1 {"name":"A","serial":"SN-1"}
      crm:u1 accepted: a new record from crm
      = <device 1> v1 {"name":"A","serial":"SN-1"} [crm c1]
    u2 bms device b1 {"serial":"SN-1"}
      bms:u2 unchanged: the same thing as in crm: a new link, nothing new in it
      = <device 1> v1 {"name":"A","serial":"SN-1"} [crm c1, bms b1]
    u3 bms device b1 {"name":"B","serial":"SN-1"}
      bms:u3 dropped: name stays 'A' from crm (source_priority) | by Rule source_priority | modified_fields: name
        conflict name: base none, ours "A" (crm), theirs "B" → ours (source_priority)
    u4 crm device c1 {"name":"C","serial":"SN-1"}
      crm:u4 accepted: taken: name
      = <device 1> v2 {"name":"C","serial":"SN-1"} [crm c1, bms b1]
    u5 erp device e1 {"serial":"SN-1"}
      erp:u5 unchanged: the same thing as in crm and bms: a new link, nothing new in it
      = <device 1> v2 {"name":"C","serial":"SN-1"} [crm c1, bms b1, erp e1]
    u6 erp device e1 {"name":"E","serial":"SN-1"}
      erp:u6 accepted: taken: name
        conflict name: base none, ours "C" (crm), theirs "E" → theirs (source_priority)
      = <device 1> v3 {"name":"E","serial":"SN-1"} [crm c1, bms b1, erp e1]
    u7 crm device c1 {"name":"D","serial":"SN-1"}
      crm:u7 dropped: name stays 'E' from erp (source_priority) | by Rule source_priority | modified_fields: name
        conflict name: base "C", ours "E" (erp), theirs "D" → ours (source_priority)
    "#);
}
