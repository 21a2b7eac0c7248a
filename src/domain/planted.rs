//! Faults planted on purpose, one line each, which the model test must catch. Always off without the test feature.

#[cfg(feature = "planted-faults")]
mod switch {
    use std::cell::Cell;

    thread_local!(static PLANTED: Cell<&'static str> = const { Cell::new("") });

    /// Plants one fault in this thread; an empty name plants none.
    pub fn plant(name: &'static str) {
        PLANTED.with(|planted| planted.set(name));
    }

    /// Whether this fault is planted.
    pub fn fault(name: &str) -> bool {
        PLANTED.with(|planted| planted.get() == name)
    }
}

#[cfg(feature = "planted-faults")]
pub use switch::{fault, plant};

/// Whether this fault is planted: never.
#[cfg(not(feature = "planted-faults"))]
#[must_use]
#[inline]
pub const fn fault(_name: &str) -> bool {
    false
}
