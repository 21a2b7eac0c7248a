//! Every backend keeps every promise of the ports.

#![allow(clippy::unwrap_used)]

mod embedded;
mod kill;
mod mongodb;
mod mongodb_faults;
mod mongodb_presence;
mod mongodb_writers;
mod rabbitmq;
mod systems;
mod verify;

use std::sync::Arc;

use async_trait::async_trait;
use syncline::ports::store::Store;
use syncline::ports::testkit::{MemoryStore, StoreKit, store_conformance};

/// A clone is the same store, so closing it loses nothing.
struct Memory;

#[async_trait]
impl StoreKit for Memory {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }
}

#[tokio::test]
async fn the_reference_store_keeps_its_promises() {
    store_conformance(&Memory).await;
}
