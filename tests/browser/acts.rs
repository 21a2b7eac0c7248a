//! What people do in the console, as they do it.

use serde_json::json;

use crate::driver::Browser;
use crate::scene::one_of_everything;
use crate::support::device;
use crate::webdriver::{ENTER, ESCAPE, TAB};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_found_and_the_next_ones_come_by_themselves() {
    let served = one_of_everything().await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    browser.open("/").await;
    browser.fill("#find", "oem:o2").await;
    browser.press(ENTER).await;
    browser.until_says("What is canonical, and what every system holds").await;
    browser.click(".timeline a").await;
    browser.until_says("Field by field").await;
    browser.open("/decisions?system=oem").await;
    browser.until("document.querySelector('[data-live-mark]').classList.contains('on')").await;
    served.say(&device("new", "oem", "o2", json!({"serial_no": "S2", "name": "Pump P3", "floor": 4}))).await;
    browser.until("document.querySelector('tr.fresh a')?.textContent === 'oem:o2'").await;
    browser.click("tr.fresh a").await;
    browser.until_at("/decisions/oem:new").await;
    browser.until_says("Pump P3").await;
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_review_is_approved_and_an_edited_dead_letter_requeued() {
    let served = one_of_everything().await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    browser.open("/waiting/bms:p2").await;
    browser.fill("textarea", "{\"price\": }").await;
    browser.click("button[value=approve]").await;
    browser.until_says("This is no JSON").await;
    // More digits than a browser's numbers have.
    browser.fill("textarea", "{\"price\": 9007199254740993}").await;
    browser.fill("input[name=by]", "anna").await;
    browser.fill("input[name=reason]", "as agreed").await;
    browser.click("button[value=approve]").await;
    browser.confirm("accepted").await;
    browser.until_at("/decisions/bms:p2").await;
    browser.until_says("chosen by anna").await;
    assert_eq!(served.get("/v1/entities/device/bms:b2").await.1["data"]["price"], json!(9_007_199_254_740_993_u64));

    browser.open("/waiting/bms:p").await;
    assert_eq!(browser.is("document.querySelector('input[name=by]').value").await, json!("anna"), "the browser keeps the name");
    browser.click("button[value=reject]").await;
    browser.confirm("dropped").await;
    browser.until_at("/decisions/bms:p").await;
    browser.assert_no_errors("decided").await;

    browser.open("/dead-letters").await;
    browser.click("a[href*='bms:u3']").await;
    browser.until_says("Make ids that never repeat").await;
    // The same as was decided under this id: nothing is left of it.
    browser.fill("textarea", &device("u3", "bms", "b2", json!({"serial": "S2", "name": "Pump", "floor": 3})).to_string()).await;
    browser.click("button[value=requeue]").await;
    browser.confirm("once more").await;
    browser.until_at("/dead-letters").await;
    assert_eq!(served.get("/v1/dead-letters").await.1["items"].as_array().unwrap().len(), 1);
    browser.click("tbody a").await;
    browser.until_says("What this means").await;
    browser.click("button[value=discard]").await;
    browser.confirm("for good").await;
    browser.until_says("No dead letters").await;
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_brake_is_let_go_and_a_system_paused() {
    let served = one_of_everything().await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    browser.open("/waiting").await;
    browser.until_says("New device records for cafm").await;
    // First it is thought better of.
    browser.click("form[data-act$='/release'] button").await;
    browser.until("document.getElementById('ask').open && document.getElementById('ask').innerText.includes('2 creates')").await;
    browser.click("#ask button[value=no]").await;
    assert_eq!(served.get("/v1/brakes").await.1["items"].as_array().unwrap().len(), 1);
    browser.click("form[data-act$='/release'] button").await;
    browser.confirm("2 creates").await;
    browser.until("!document.body.innerText.includes('New device records for cafm')").await;
    assert_eq!(served.get("/v1/brakes").await.1["items"], json!([]));

    browser.open("/systems/cafm").await;
    browser.click("form[data-body*='both'] button").await;
    browser.confirm("Kept back by now").await;
    browser.until("document.querySelector('form[data-act$=\"/resume\"]')").await;
    browser.click("form[data-act$='/resume'] button").await;
    browser.confirm("It would send").await;
    browser.until("document.querySelector('form[data-act$=\"/pause\"]')").await;
    browser.click("form[data-act$='/resync'] button").await;
    browser.confirm("It would send").await;
    browser.until_says("Done.").await;
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_records_are_made_one_and_one_is_made_two() {
    let served = one_of_everything().await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    let merge = "form[data-act$='/merge']";
    browser.open("/records/device/bms:b1").await;
    browser.fill(&format!("{merge} [name=loser]"), "oem:nope").await;
    browser.click(&format!("{merge} button")).await;
    browser.until_says("oem is not known to have a device nope").await;
    browser.complains("404").await;
    browser.fill(&format!("{merge} [name=loser]"), "oem:o1").await;
    browser.fill(&format!("{merge} [name=by]"), "anna").await;
    browser.fill(&format!("{merge} [name=reason]"), "same fan").await;
    browser.click(&format!("{merge} button")).await;
    browser.confirm("became part of this one: anna says so: same fan").await;
    browser.until("document.querySelector('.timeline').innerText.includes('became part of this one')").await;
    browser.open("/records/device/oem:o1").await;
    browser.until("document.querySelectorAll('form[data-act$=\"/split\"] input[type=checkbox]').length === 2").await;
    browser.click("input[value='oem:o1']").await;
    browser.click("form[data-act$='/split'] button").await;
    browser.confirm("oem").await;
    browser.until_says("Done.").await;
    let (bms, oem) = (served.get("/v1/entities/device/bms:b1").await.1, served.get("/v1/entities/device/oem:o1").await.1);
    assert_ne!(bms["id"], oem["id"]);
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_goes_by_keyboard() {
    let served = one_of_everything().await;
    let Some(browser) = Browser::at(&served.url).await else { return };
    browser.open("/").await;
    browser.press("?").await;
    browser.until("document.getElementById('keys').open").await;
    browser.press(ESCAPE).await;
    browser.until("!document.getElementById('keys').open").await;
    browser.press("t").await;
    browser.until("document.documentElement.dataset.theme").await;
    browser.press("gw").await;
    browser.until_at("/waiting").await;
    let row = "document.activeElement.getAttribute('href')";
    browser.press("j").await;
    while browser.is(row).await != json!("/waiting/bms:p") {
        let before = browser.is(row).await;
        browser.press("j").await;
        assert_ne!(browser.is(row).await, before, "it is in no row");
    }
    browser.press(ENTER).await;
    browser.until_at("/waiting/bms:p").await;
    while browser.is("document.activeElement.value").await != json!("approve") {
        browser.press(TAB).await;
        assert_ne!(browser.is("document.activeElement === document.body").await, json!(true), "approving can't be reached");
    }
    browser.press(ENTER).await;
    browser.until("document.activeElement.value === 'yes'").await;
    browser.press(ENTER).await;
    browser.until_at("/decisions/bms:p").await;
    browser.until_says("accepted").await;
    browser.press("/").await;
    browser.press("bms:b1").await;
    browser.press(ENTER).await;
    browser.until_says("What is canonical, and what every system holds").await;
    browser.done().await;
    served.orchestrator.stop().await.unwrap();
}
