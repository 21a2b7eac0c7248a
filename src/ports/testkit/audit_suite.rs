//! Who did what.

use serde_json::{Value, json};

use super::StoreKit;
use crate::domain::time::Timestamp;
use crate::ports::audit::Audit;
use crate::ports::error::PortErrorKind;
use crate::ports::store::{Cursor, Store};

fn entry(n: u64, act: &str) -> Audit {
    Audit {
        id: format!("0192f0c4-7c1e-7aaa-8000-{n:012}"),
        at: Timestamp::from_micros(1_790_000_000_000_000 + n.cast_signed()),
        by: "Änna \"$\" O'Neill".to_owned(),
        role: n.is_multiple_of(2).then(|| "operator".to_owned()),
        act: act.to_owned(),
        on: format!("bms:{n}"),
        before: json!({"$set": {"a.b": n}, "text": "é\u{1F600}", "none": null}),
        after: if n == 1 { Value::Null } else { json!([n, 1.5, true]) },
    }
}

async fn listed(store: &dyn Store, limit: usize) -> Vec<Audit> {
    let (mut found, mut after): (Vec<Audit>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = store.audits(after.as_ref(), limit).await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

pub(super) async fn what_was_done_is_listed_newest_first(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    assert_eq!(listed(store.as_ref(), 2).await, []);
    // Two processes may write in another order than that of their ids.
    for n in [2, 1, 4, 3, 5] {
        store.audit(&entry(n, "pause")).await.unwrap();
    }
    let expected: Vec<Audit> = [5, 4, 3, 2, 1].map(|n| entry(n, "pause")).into();
    for limit in [1, 2, 5, 9] {
        assert_eq!(listed(store.as_ref(), limit).await, expected, "in pages of {limit}");
    }
    let first = store.audits(None, 2).await.unwrap();
    store.audit(&entry(6, "resume")).await.unwrap();
    let next = store.audits(first.next.as_ref(), 2).await.unwrap();
    assert_eq!(next.items, expected[2..4], "a place in the list stays where it is");
}

pub(super) async fn an_entry_is_kept_once_and_never_changed(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.audit(&entry(1, "pause")).await.unwrap();
    store.audit(&entry(1, "pause")).await.unwrap();
    // Not even by whoever has its id.
    let _ = store.audit(&entry(1, "resume")).await;
    assert_eq!(listed(store.as_ref(), 9).await, [entry(1, "pause")]);
    let store = kit.reopen(store).await;
    assert_eq!(listed(store.as_ref(), 9).await, [entry(1, "pause")]);
}

pub(super) async fn a_cursor_of_another_list_is_refused(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    for wrong in ["", "7", "nonsense", "{\"$gt\": \"\"}"] {
        let refused = store.audits(Some(&Cursor(wrong.to_owned())), 9).await.unwrap_err();
        assert_eq!(refused.kind, PortErrorKind::Invalid, "{wrong:?}");
    }
}
