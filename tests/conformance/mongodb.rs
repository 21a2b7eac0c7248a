//! The MongoDB backend, against the replica set that `SYNCLINE_TEST_MONGODB_URL` names.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use syncline::backends::mongodb::{MongoStore, Options};
use syncline::ports::store::Store;
use syncline::ports::testkit::{StoreKit, agrees_with_reference, store_conformance};

const URL: &str = "SYNCLINE_TEST_MONGODB_URL";

/// The server's address. Without one there is nothing to test, except where everything must be tested.
pub fn server() -> Option<String> {
    let url = std::env::var(URL).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{URL} is not set; scripts/services starts a server and says its address");
        eprintln!("skipped: {URL} is not set");
    }
    url
}

/// A database of its own, dropped at the end.
pub struct Base {
    pub url: String,
    pub name: String,
}

impl Base {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), name: format!("syncline_test_{}", uuid::Uuid::now_v7().simple()) }
    }

    pub async fn open(&self) -> MongoStore {
        MongoStore::open(&self.url, &self.name, Options::default()).await.unwrap()
    }

    pub async fn drop(self) {
        self.open().await.drop_database().await.unwrap();
    }
}

/// Makes database after database.
struct Kit {
    url: String,
    base: Mutex<Option<Base>>,
}

impl Kit {
    fn new(url: String) -> Self {
        Self { url, base: Mutex::new(None) }
    }

    fn take(&self) -> Option<Base> {
        self.base.lock().unwrap().take()
    }

    async fn open(&self) -> Arc<dyn Store> {
        let base = self.take().unwrap();
        let store = base.open().await;
        *self.base.lock().unwrap() = Some(base);
        Arc::new(store)
    }

    async fn end(&self) {
        if let Some(base) = self.take() {
            base.drop().await;
        }
    }
}

#[async_trait]
impl StoreKit for Kit {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.end().await;
        *self.base.lock().unwrap() = Some(Base::new(&self.url));
        self.open().await
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(store);
        self.open().await
    }

    async fn second(&self) -> Option<Arc<dyn Store>> {
        Some(self.open().await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_its_promises() {
    let Some(url) = server() else { return };
    let kit = Kit::new(url);
    store_conformance(&kit).await;
    kit.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_batches_agree_with_the_reference() {
    let Some(url) = server() else { return };
    let kit = Kit::new(url);
    for seed in 100..104 {
        agrees_with_reference(&kit, seed, 120).await;
    }
    kit.end().await;
}
