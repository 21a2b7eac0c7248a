//! People at the console: coming in, staying, going out; and what their browsers may be made to do.

use reqwest::{Method, StatusCode, header};
use serde_json::json;

use crate::guarded::{Guarded, client, code, cookies, hidden};
use crate::support::{PUSH, Served};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_comes_in_looks_acts_and_goes() {
    let guarded = Guarded::start().await;
    let response = guarded.enter(&guarded.tokens["otto"]).await;
    let set: Vec<&str> = response.headers().get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect();
    assert!(set[0].starts_with("syncline=") && set[0].ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set:?}");
    assert!(set[1].starts_with("syncline-login=;") && set[1].ends_with("; Max-Age=0"), "{set:?}");

    let otto = guarded.log_in("otto").await;
    let page = guarded.page(&otto.cookie, "/systems").await;
    assert!(page.contains("title=\"operator\">otto</span>") && page.contains("action=\"/logout\""), "{page}");
    assert_eq!(hidden(&page), otto.csrf, "one for each log-in");
    let pause = |csrf: &str| {
        let request = guarded.ask(Method::POST, "/v1/systems/oem/pause").header(header::COOKIE, &otto.cookie);
        request.header("x-csrf-token", csrf).header(header::ORIGIN, &guarded.served.url).json(&json!({"direction": "out"})).send()
    };
    assert_eq!(pause("").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(pause(&otto.csrf).await.unwrap().status(), StatusCode::OK);
    assert_eq!(guarded.get("vera", "/v1/brakes").await.1["items"].as_array().unwrap().len(), 1);

    let out = guarded.ask(Method::POST, "/logout").header(header::COOKIE, &otto.cookie).form(&[("csrf", &otto.csrf)]);
    let out = out.send().await.unwrap();
    assert_eq!((out.status(), &out.headers()[header::LOCATION]), (StatusCode::SEE_OTHER, &"/login".parse().unwrap()));
    assert_eq!(cookies(&out), ["syncline="]);
    let late = guarded.ask(Method::GET, "/v1/systems").header(header::COOKIE, &otto.cookie).send().await.unwrap();
    assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
    guarded.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_by_the_wrong_token_or_from_another_page_is_none() {
    let guarded = Guarded::start().await;
    let wrong = guarded.enter("syncline_x_y").await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(wrong.text().await.unwrap().contains("Nobody has this token."));
    let adapter = guarded.enter(&guarded.tokens["bms"]).await;
    assert_eq!((adapter.status(), cookies(&adapter)), (StatusCode::FORBIDDEN, Vec::new()));

    // What was shown to another browser, or to none.
    let ((cookie, _), (_, csrf)) = (guarded.form().await, guarded.form().await);
    let token = guarded.tokens["otto"].as_str();
    let form = [("token", token), ("csrf", &csrf)];
    let other = guarded.ask(Method::POST, "/login").header(header::COOKIE, cookie).form(&form).send().await.unwrap();
    assert_eq!((other.status(), cookies(&other)), (StatusCode::FORBIDDEN, Vec::new()));
    let none = guarded.ask(Method::POST, "/login").form(&form).send().await.unwrap();
    assert_eq!(none.status(), StatusCode::FORBIDDEN);
    let site = guarded.ask(Method::POST, "/login").header(header::ORIGIN, "https://evil.example").form(&form).send().await.unwrap();
    assert_eq!(site.status(), StatusCode::FORBIDDEN);

    for place in ["https://evil.example/", "//evil.example", "/\\evil.example"] {
        let (cookie, csrf) = guarded.form().await;
        let form = [("token", token), ("csrf", csrf.as_str()), ("next", place)];
        let response = guarded.ask(Method::POST, "/login").header(header::COOKIE, cookie).form(&form).send().await.unwrap();
        assert_eq!((response.status(), &response.headers()[header::LOCATION]), (StatusCode::SEE_OTHER, &"/".parse().unwrap()));
    }
    guarded.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_ends_soon_and_nobody_else_notices() {
    let guarded = Guarded::start().await;
    assert_eq!(guarded.get("vera", "/v1/systems").await.0, 200);
    let mut statuses = Vec::new();
    for n in 0..14 {
        let guess = guarded.tokens["otto"].replace(&guarded.tokens["otto"][40..], &format!("{n:064}"));
        let response = match n % 2 {
            0 => guarded.ask(Method::GET, "/v1/systems").bearer_auth(guess).send().await.unwrap(),
            _ => guarded.enter(&guess).await,
        };
        let (status, again) = (response.status().as_u16(), response.headers().get(header::RETRY_AFTER).cloned());
        assert_eq!(again.is_some_and(|seconds| (1..=60).contains(&seconds.to_str().unwrap().parse().unwrap())), status == 429);
        statuses.push(status);
    }
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 4]].concat());
    assert_eq!(guarded.get("vera", "/v1/systems").await.0, 200, "who was here before goes on");
    assert_eq!(guarded.enter(&guarded.tokens["otto"]).await.status(), 429, "who comes from there for the first time waits");
    let metrics = guarded.by("vera", Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("syncline_http_refused_total{reason=\"too_many_tries\"} 5"), "{metrics}");
    guarded.served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_hears_no_more_once_it_is_logged_out() {
    let guarded = Guarded::start().await;
    let vera = guarded.log_in("vera").await;
    let mut events = guarded.ask(Method::GET, "/v1/events").header(header::COOKIE, &vera.cookie).send().await.unwrap();
    assert!(String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()).contains("event: snapshot"));
    let out = guarded.ask(Method::POST, "/logout").header(header::COOKIE, &vera.cookie).form(&[("csrf", &vera.csrf)]);
    assert_eq!(out.send().await.unwrap().status(), StatusCode::SEE_OTHER);
    let ends = async { while events.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), ends).await.expect("it ends");
    guarded.served.orchestrator.stop().await.unwrap();
}

/// Where nobody logs in, a browser must still have seen the page it sends from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tokens_a_page_proves_that_it_came_from_here_and_programs_need_nothing() {
    let served = Served::with(PUSH).await;
    let (http, path) = (client(), format!("{}/v1/systems/oem/pause", served.url));
    let page = http.get(format!("{}/systems", served.url)).header(header::ACCEPT, "text/html").send().await.unwrap().text().await.unwrap();
    let csrf = page.split("<meta name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(!page.contains("/logout") && page.contains("data-act"), "{page}");
    let pause = || http.post(&path).json(&json!({"direction": "out"}));
    for browser in [("origin", served.url.as_str()), ("sec-fetch-site", "same-origin")] {
        let without = pause().header(browser.0, browser.1).send().await.unwrap();
        assert_eq!(code(without).await, (403, "csrf".to_owned()));
        let with = pause().header(browser.0, browser.1).header("x-csrf-token", csrf).send().await.unwrap();
        assert_eq!(with.status(), 200);
    }
    assert_eq!(pause().send().await.unwrap().status(), 200);
    let login = http.get(format!("{}/login?next=/systems", served.url)).send().await.unwrap();
    assert_eq!((login.status(), &login.headers()[header::LOCATION]), (StatusCode::SEE_OTHER, &"/systems".parse().unwrap()));
    served.orchestrator.stop().await.unwrap();
}
