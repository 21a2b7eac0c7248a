//! Who logs in, and what they are offered.

use serde_json::json;

use crate::driver::Browser;
use crate::guarded::Guarded;
use crate::webdriver::ENTER;

impl Browser {
    async fn log_in(&self, token: &str) {
        self.open("/waiting/bms:p").await;
        self.until_at("/login").await;
        self.assert_sound("the log-in page").await;
        self.fill("[name=token]", token).await;
        self.press(ENTER).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_come_in_with_a_token_and_go() {
    let guarded = Guarded::start().await;
    guarded.review().await;
    let Some(browser) = Browser::at(&guarded.served.url).await else { return };
    browser.log_in("syncline_no_such").await;
    browser.until_says("Nobody has this token").await;
    browser.complains("401").await;

    browser.log_in(&guarded.tokens["vera"]).await;
    browser.until_at("/waiting/bms:p").await;
    browser.until_says("you need the role operator or admin").await;
    assert_eq!(browser.is("document.querySelector('button[value=approve]').matches(':disabled')").await, json!(true));
    for place in ["/systems", "/waiting"] {
        browser.open(place).await;
        let offered = browser.is("document.querySelectorAll('form[data-act] button:not(:disabled)').length").await;
        assert_eq!(offered, json!(0), "{place}");
        browser.assert_sound(place).await;
    }
    browser.click(".who button").await;
    browser.until_at("/login").await;

    browser.log_in(&guarded.tokens["otto"]).await;
    browser.until_at("/waiting/bms:p").await;
    browser.assert_sound("as an operator").await;
    browser.click("button[value=approve]").await;
    browser.confirm("accepted").await;
    browser.until_at("/decisions/bms:p").await;
    browser.until_says("chosen by otto").await;
    browser.click(".who button").await;
    browser.until_at("/login").await;
    browser.open("/").await;
    browser.until_at("/login").await;
    browser.done().await;
    guarded.served.orchestrator.stop().await.unwrap();
}
