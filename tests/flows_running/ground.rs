//! Where systems hand in and fetch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use syncline::ports::broker::{Broker, Delivery, OutboundMessage};
use syncline::ports::error::PortError;
use syncline_sdk::{Http, Transport};

/// The orchestrator's edge, as adapters see it.
#[async_trait]
pub trait Ground: Send + Sync {
    /// Hands messages in, together.
    async fn say(&self, bodies: Vec<Value>);

    /// Takes everything that waits for a system.
    async fn fetch(&self, system: &str) -> Vec<Value>;
}

/// The HTTP edge, by way of the SDK's transport.
pub struct OverHttp(pub Http);

impl OverHttp {
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.0.post(path, serde_json::to_vec(body).unwrap(), Duration::from_secs(30)).await.unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }
}

#[async_trait]
impl Ground for OverHttp {
    async fn say(&self, mut bodies: Vec<Value>) {
        let body = if bodies.len() == 1 { bodies.remove(0) } else { Value::Array(bodies) };
        let (status, answer) = self.post("/v1/updates", &body).await;
        assert_eq!(status, 202, "{answer}");
    }

    async fn fetch(&self, system: &str) -> Vec<Value> {
        let (status, mut answer) = self.post(&format!("/v1/systems/{system}/lease"), &json!({"max": 1000, "ack": "auto"})).await;
        if status == 404 {
            // Who does not take part is sent nothing.
            return Vec::new();
        }
        assert_eq!(status, 200, "{answer}");
        answer["updates"].as_array_mut().map(std::mem::take).unwrap()
    }
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
