//! How long a real browser takes until a page shows something.

use crate::driver::Browser;

const TIMES: usize = 10;

const PAGES: [&str; 7] = ["/", "/decisions", "/records", "/records/device/{id}", "/waiting", "/dead-letters", "/systems"];

/// Opens every page some times over, each time anew. Without a browser it is said that there is none.
pub async fn measure(url: &str, record: &str) {
    let Some(browser) = Browser::at(url).await else { return };
    // It has shown something before: its own start is not a page's.
    browser.open("/healthz").await;
    println!("{:<28} {:>9} {:>9} {:>9}", "first paint in Chromium", "first ms", "p50 ms", "max ms");
    for page in PAGES {
        let path = page.replace("{id}", record);
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            browser.open(&path).await;
            times.push(first_paint(&browser).await);
        }
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!("{page:<28} {first:>9.0} {:>9.0} {:>9.0}", times[TIMES / 2], times[TIMES - 1]);
    }
    browser.done().await;
}

/// Milliseconds from the beginning of the navigation, as the browser tells them (Paint Timing, W3C).
async fn first_paint(browser: &Browser) -> f64 {
    let script = "const done = arguments[arguments.length - 1];
        const told = (list) => { const paint = list.getEntriesByName('first-contentful-paint')[0]; if (paint) done(paint.startTime); };
        new PerformanceObserver(told).observe({ type: 'paint', buffered: true });";
    browser.driver.wait(script).await.expect("a paint").as_f64().expect("a time")
}
