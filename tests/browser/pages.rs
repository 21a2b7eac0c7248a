//! Every page: readable by everybody, on every screen, whatever is stored.

use std::collections::BTreeSet;

use serde_json::json;

use crate::driver::Browser;
use crate::scene::one_of_everything;
use crate::support::Served;
use crate::webdriver::TAB;

/// One page of each kind, as links from the others lead there.
async fn places(browser: &Browser) -> BTreeSet<String> {
    let mut places = BTreeSet::from(
        ["/", "/help", "/records?type=device&field=serial&value=S2", "/decisions?decision=parked", "/nonsense"].map(str::to_owned),
    );
    for list in ["/", "/decisions", "/records", "/waiting", "/dead-letters", "/systems"] {
        browser.open(list).await;
        let links = browser.is("[...document.querySelectorAll('a[href^=\"/\"]')].map((link) => link.getAttribute('href'))").await;
        places.extend(links.as_array().unwrap().iter().map(|link| link.as_str().unwrap().to_owned()));
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_for_everybody() {
    let served = one_of_everything().await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    let places = places(&browser).await;
    for kind in ["/decisions/", "/records/device/", "/waiting/", "/dead-letters/", "/systems/"] {
        assert!(places.iter().any(|place| place.starts_with(kind)), "{kind}: {places:#?}");
    }
    for place in &places {
        browser.sized(1280, 800).await;
        browser.themed("light").await;
        browser.open(place).await;
        let at = |how: &str| format!("{place}, {how}");
        if place == "/nonsense" {
            browser.complains("404").await;
        }
        browser.assert_sound(&at("light")).await;
        browser.themed("dark").await;
        browser.assert_sound(&at("dark")).await;
        browser.sized(360, 740).await;
        browser.assert_sound(&at("on a phone")).await;
        assert_eq!(browser.is("window.pwned ?? null").await, json!(null), "{place}: what is stored was run");
    }
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_stored_every_page_helps() {
    let served = Served::with("[http]\nlisten = \"127.0.0.1:0\"\n").await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    for (place, text) in [
        ("/", "No system has been seen yet"),
        ("/decisions", "Nothing was decided yet"),
        ("/records", "There is no record yet"),
        ("/waiting", "Nothing waits"),
        ("/dead-letters", "No dead letters"),
        ("/systems", "No system has been seen yet"),
    ] {
        browser.sized(1280, 800).await;
        browser.open(place).await;
        browser.until_says(text).await;
        browser.assert_sound(place).await;
        browser.sized(360, 740).await;
        browser.assert_sound(place).await;
    }
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_focus_is_can_be_seen() {
    let served = one_of_everything().await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    let seen = "(() => { const at = document.activeElement, style = getComputedStyle(at); return at === document.body ? 'over' \
                : style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 ? 'seen' : at.outerHTML; })()";
    for place in ["/", "/decisions", "/records/device/bms:b1", "/waiting", "/waiting/bms:p", "/dead-letters", "/systems"] {
        browser.open(place).await;
        let mut stops = 0;
        while stops < 60 {
            browser.press(TAB).await;
            let how = browser.is(seen).await;
            if how == json!("over") {
                break;
            }
            assert_eq!(how, json!("seen"), "{place}");
            stops += 1;
        }
        assert!(stops > 10, "{place} has {stops} places to be at");
    }
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_redacted_is_on_no_page() {
    let served = one_of_everything().await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    // One that waits and one that is dead, with a phone number under its native name.
    served.say(&json!({"id": "q", "system": "oem", "type": "device", "native_id": "o1", "op": "patch", "entity": {"tel": "555-0199", "price": 1}})).await;
    served.say(&crate::support::device("u2", "oem", "o1", json!({"serial_no": "S-1", "tel": "555-0177"}))).await;
    served.at_rest().await;
    let places = places(&browser).await;
    assert!(places.contains("/waiting/oem:q"), "{places:#?}");
    for place in places.iter().filter(|place| *place != "/nonsense") {
        browser.open(place).await;
        let html = browser.driver.source().await;
        for phone in ["555-0100", "555-0199", "555-0177"] {
            assert!(!html.contains(phone), "{place} shows {phone}");
        }
    }
    browser.open("/waiting/oem:q").await;
    browser.until_says("syncline parked approve oem:q --edit").await;
    assert_eq!(browser.is("document.querySelector('textarea')").await, json!(null));
    browser.open("/records?type=device&field=phone&value=555-0100").await;
    browser.until_says("No device fits").await;
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}
