//! The console in a real browser: headless Chromium, driven by its driver.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]

mod acts;
mod driver;
#[allow(dead_code, reason = "shared with the tests of HTTP")]
#[path = "../http/guarded.rs"]
mod guarded;
mod pages;
mod people;
mod scene;
#[allow(dead_code, reason = "shared with the tests of HTTP")]
#[path = "../http/support.rs"]
mod support;
mod webdriver;
