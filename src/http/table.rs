//! Every route there is: its path, who may use it, and what it does. The router is made from this table and nothing else, so
//! no route is without its [needs](Needs).

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, get, on};

use super::access::{Form, Needs};
use super::{Api, console, openapi, routes};

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// How it is asked.
    pub method: Method,
    /// Its path; `{…}` is a part of it that can be anything.
    pub path: &'static str,
    /// What somebody must be to use it.
    pub needs: Needs,
    /// Whether an answer has a bound in time; without one there are routes that wait, stream, or look at every record.
    pub quick: bool,
    /// How a page proves that it came from here.
    pub form: Form,
    /// What it does.
    pub(super) handler: MethodRouter<Arc<Api>>,
}

impl Route {
    fn get(path: &'static str, needs: Needs, handler: MethodRouter<Arc<Api>>) -> Self {
        Self { method: Method::GET, path, needs, quick: true, form: Form::Header, handler }
    }

    fn post<H, T>(path: &'static str, needs: Needs, handler: H) -> Self
    where
        H: axum::handler::Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self { method: Method::POST, path, needs, quick: true, form: Form::Header, handler: on(MethodFilter::POST, handler) }
    }

    fn slow(self) -> Self {
        Self { quick: false, ..self }
    }

    /// It bounds what it reads itself.
    fn bounded(self) -> Self {
        Self { handler: self.handler.layer(DefaultBodyLimit::disable()), ..self }
    }

    fn form(self) -> Self {
        Self { form: Form::Field, ..self }
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.method != Method::GET
    }
}

/// Every route.
#[must_use]
pub fn table() -> Vec<Route> {
    let mut all = reads();
    all.extend(acts());
    all.extend(pages());
    all
}

/// What is looked at.
fn reads() -> Vec<Route> {
    use Needs::{Admin, Nothing, Viewer, ViewerOrItself};
    use routes::{audit, decisions, entities, events, health, holds, people, resync, systems};
    vec![
        Route::get("/v1/entities/{type}", Viewer, get(entities::list)),
        Route::get("/v1/entities/{type}/{id}", Viewer, get(entities::one)),
        Route::get("/v1/entities/{type}/{id}/history", Viewer, get(entities::history)),
        Route::get("/v1/entities/{type}/{id}/why", Viewer, get(entities::why)),
        Route::get("/v1/lookup", Viewer, get(systems::lookup)),
        Route::get("/v1/systems", Viewer, get(systems::list)),
        Route::get("/v1/systems/{system}/view/{type}/{id}", ViewerOrItself, get(systems::view)),
        Route::get("/v1/systems/{system}/held/{type}", ViewerOrItself, get(systems::held)),
        Route::get("/v1/systems/{system}/compare", Viewer, get(resync::differences)),
        Route::get("/v1/brakes", Viewer, get(holds::list)),
        Route::get("/v1/decisions", Viewer, get(decisions::list)),
        Route::get("/v1/decisions/{update}", Viewer, get(decisions::one)),
        Route::get("/v1/events", Viewer, get(events::stream)),
        Route::get("/v1/parked", Viewer, get(decisions::parked)),
        Route::get("/v1/parked/{update}", Viewer, get(people::one)),
        Route::get("/v1/dead-letters", Viewer, get(decisions::dead_letters)),
        Route::get("/v1/dead-letters/{id}", Viewer, get(people::letter)),
        Route::get("/v1/audit", Admin, get(audit::list)),
        Route::get("/v1/status", Viewer, get(health::status)),
        Route::get("/metrics", Viewer, get(health::metrics)),
        Route::get("/openapi.json", Nothing, get(openapi::served)),
        Route::get("/healthz", Nothing, get(health::alive)),
        Route::get("/readyz", Nothing, get(health::ready)),
    ]
}

/// What changes something.
fn acts() -> Vec<Route> {
    use Needs::{Adapter, Admin, Itself, Operator};
    use routes::{holds, identity, lease, people, resync, updates};
    vec![
        Route::post("/v1/updates", Adapter, updates::take_in).slow().bounded(),
        Route::post("/v1/systems/{system}/lease", Itself, lease::lease).slow(),
        Route::post("/v1/parked/{update}/approve", Operator, people::approve),
        Route::post("/v1/parked/{update}/reject", Operator, people::reject),
        Route::post("/v1/parked/{update}/retry", Operator, people::retry),
        Route::post("/v1/dead-letters/{id}/requeue", Operator, people::requeue),
        Route::post("/v1/dead-letters/{id}/discard", Operator, people::discard),
        Route::post("/v1/entities/{type}/{id}/merge", Operator, identity::merge),
        Route::post("/v1/entities/{type}/{id}/split", Operator, identity::split),
        Route::post("/v1/entities/{type}/{id}/erase", Admin, identity::erase),
        Route::post("/v1/systems/{system}/pause", Operator, holds::pause),
        // These look at every record there is.
        Route::post("/v1/brakes/{id}/release", Operator, holds::release).slow(),
        Route::post("/v1/brakes/{id}/discard", Operator, holds::discard).slow(),
        Route::post("/v1/resync", Operator, resync::everybody).slow(),
        Route::post("/v1/systems/{system}/resync", Operator, resync::resync).slow(),
        Route::post("/v1/systems/{system}/resume", Operator, holds::resume).slow(),
    ]
}

/// What people see.
fn pages() -> Vec<Route> {
    use Needs::{Name, Nothing, Viewer};
    use console::{assets, decisions, find, help, letters, log_in, overview, record, records, systems, waiting};
    vec![
        Route::get("/", Viewer, get(overview::page)),
        Route::get("/find", Viewer, get(find::page)),
        Route::get("/decisions", Viewer, get(decisions::list)),
        Route::get("/decisions/{update}", Viewer, get(decisions::one)),
        Route::get("/records", Viewer, get(records::page)),
        Route::get("/records/{type}/{id}", Viewer, get(record::page)),
        Route::get("/waiting", Viewer, get(waiting::list)),
        Route::get("/waiting/{update}", Viewer, get(waiting::one)),
        Route::get("/dead-letters", Viewer, get(letters::list)),
        Route::get("/dead-letters/{id}", Viewer, get(letters::one)),
        Route::get("/systems", Viewer, get(systems::list)),
        Route::get("/systems/{system}", Viewer, get(systems::one)),
        Route::get("/help", Viewer, get(help::page)),
        Route::get("/assets/{name}", Nothing, get(assets::file)),
        Route::get("/login", Nothing, get(log_in::page)),
        Route::post("/login", Nothing, log_in::enter).form(),
        Route::post("/logout", Name, log_in::leave).form(),
    ]
}
