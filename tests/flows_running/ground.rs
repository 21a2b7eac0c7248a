//! Where systems hand in and fetch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use syncline::ports::broker::{Broker, Delivery, OutboundMessage};
use syncline::ports::error::PortError;

/// The orchestrator's edge, as adapters see it.
#[async_trait]
pub trait Ground: Send + Sync {
    /// Hands messages in, together.
    async fn say(&self, bodies: Vec<Value>);

    /// Takes everything that waits for a system.
    async fn fetch(&self, system: &str) -> Vec<Value>;
}

/// A broker that counts what was settled and remembers what was published, in order.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn Broker>,
    settled: AtomicUsize,
    published: Mutex<VecDeque<OutboundMessage>>,
}

impl Watched {
    pub fn new(inner: Arc<dyn Broker>) -> Self {
        Self { inner, settled: AtomicUsize::new(0), published: Mutex::default() }
    }

    pub fn settled(&self) -> usize {
        self.settled.load(Ordering::SeqCst)
    }

    pub fn take_published(&self) -> Vec<OutboundMessage> {
        self.published.lock().unwrap().drain(..).collect()
    }
}

#[async_trait]
impl Broker for Watched {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        self.inner.receive(max, wait).await
    }

    async fn give_again(&self) -> Result<(), PortError> {
        self.inner.give_again().await
    }

    async fn settle(&self, tags: &[u64]) -> Result<(), PortError> {
        self.inner.settle(tags).await?;
        self.settled.fetch_add(tags.len(), Ordering::SeqCst);
        Ok(())
    }

    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        let outcomes = self.inner.publish(messages.clone()).await;
        let taken = messages.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(message, _)| message);
        self.published.lock().unwrap().extend(taken);
        outcomes
    }
}
