//! For whoever writes a backend: the reference store, and the suites every backend passes.

mod memory;
mod memory_outbox;

pub use memory::MemoryStore;
