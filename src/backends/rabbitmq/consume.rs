//! The way in: consumers, what they have delivered, and its acknowledgement.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use lapin::message::Delivery as Delivered;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::{Notify, watch};

use super::Options;
use super::error::{failed, too_slow};
use super::link::{ANSWER_WITHIN, Health, Session, connect, watch_over};
use super::window::{Ack, Windows};
use super::{message, topology};
use crate::ports::broker::Delivery;
use crate::ports::error::{PortError, PortErrorKind};

const CONSUME: &str = "consume";
const SETTLE: &str = "settle";

/// A delivery with the consumer it came from; `None`: that consumer has ended.
type Came = (usize, Option<lapin::Result<Delivered>>);

/// Consumers that were opened together.
struct Round {
    number: u64,
    channels: Vec<Channel>,
    consumers: SelectAll<BoxStream<'static, Came>>,
}

/// The consuming side.
#[derive(Debug)]
pub(super) struct Inlet {
    options: Arc<Options>,
    state: Mutex<State>,
    /// Rings when something was delivered.
    came: Notify,
    /// Rings when everything is to be delivered once more.
    again: Notify,
    /// Acknowledgements leave in the order they were made: the server takes none for what it has taken already.
    order: tokio::sync::Mutex<()>,
    /// Rings when an acknowledgement could not be handed over in time: nobody knows which of those behind it were.
    stuck: Notify,
    /// Whether everything was there once: a queue that is missing then was deleted, and is made again.
    declared: AtomicBool,
    /// See [`connect`].
    silent: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every round: with a new connection, and when all is delivered once more.
    round: u64,
    windows: Windows,
    /// The channels of the round, one per consumer. Empty between rounds.
    channels: Vec<Channel>,
    ready: VecDeque<Delivery>,
}

impl State {
    fn close(&mut self) -> Vec<Channel> {
        self.round += 1;
        self.ready.clear();
        self.windows.begin(0, 0);
        std::mem::take(&mut self.channels)
    }
}

impl Inlet {
    pub fn new(options: Arc<Options>) -> Self {
        Self {
            options,
            state: Mutex::default(),
            came: Notify::new(),
            again: Notify::new(),
            order: tokio::sync::Mutex::default(),
            stuck: Notify::new(),
            declared: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was delivered, at most `max`; waits for it.
    pub async fn receive(&self, max: usize, wait: Duration) -> Vec<Delivery> {
        let taken = self.take(max);
        if !taken.is_empty() || max == 0 {
            return taken;
        }
        let until = tokio::time::Instant::now() + wait;
        loop {
            let came = self.came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            let taken = self.take(max);
            if !taken.is_empty() || tokio::time::timeout_at(until, came).await.is_err() {
                return taken;
            }
        }
    }

    fn take(&self, max: usize) -> Vec<Delivery> {
        let mut state = self.state();
        let count = state.ready.len().min(max);
        state.ready.drain(..count).collect()
    }

    /// How many deliveries nobody has let go of.
    pub fn out(&self) -> usize {
        self.state().windows.len()
    }

    /// Has everything that is out delivered once more.
    pub fn give_again(&self) {
        let channels = self.state().close();
        // Not there yet: everything is still to be delivered anyway.
        if !channels.is_empty() {
            self.again.notify_one();
        }
    }

    pub async fn settle(&self, tags: &[u64]) -> Result<(), PortError> {
        let _one_by_one = self.order.lock().await;
        let acks: Vec<(Channel, Ack)> = {
            let mut state = self.state();
            let acks = state.windows.settle(tags);
            acks.into_iter().filter_map(|ack| Some((state.channels.get(ack.lane)?.clone(), ack))).collect()
        };
        for (channel, ack) in acks {
            let sent = channel.basic_ack(ack.delivery, BasicAckOptions { multiple: ack.multiple });
            match tokio::time::timeout(Duration::from_secs(ANSWER_WITHIN), sent).await {
                Ok(Ok(())) => {}
                // The channel is gone, and with it what it delivered: that comes again, and is found to be decided.
                Ok(Err(error)) => tracing::debug!(error = %error, "an acknowledgement came too late"),
                Err(_) => {
                    // What is not acknowledged comes again over the next connection, and is found to be decided.
                    self.stuck.notify_one();
                    return Err(too_slow(SETTLE, ANSWER_WITHIN));
                }
            }
        }
        Ok(())
    }

    /// Opens a consumer for each queue, the one for given-up messages last.
    async fn open(&self, connection: &Connection) -> Result<Round, PortError> {
        let error = failed(CONSUME);
        let prefetch = self.options.prefetch;
        let mut queues = self.options.names.intake(self.options.partitions);
        queues.push(self.options.names.dead());
        let (mut channels, mut consumers) = (Vec::new(), SelectAll::new());
        for (lane, queue) in queues.iter().enumerate() {
            let channel = connection.create_channel().await.map_err(error)?;
            channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(error)?;
            let consuming = channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
            let deliveries = consuming.await.map_err(error)?.map(Some);
            // Its end is an event, too: the server has cancelled it, or the queue is gone.
            consumers.push(deliveries.chain(stream::once(async { None })).map(move |came| (lane, came)).boxed());
            channels.push(channel);
        }
        let mut state = self.state();
        state.close();
        state.windows.begin(channels.len(), usize::from(prefetch));
        state.channels.clone_from(&channels);
        Ok(Round { number: state.round, channels, consumers })
    }

    /// Takes what the consumers deliver until one fails, or all is to be delivered once more.
    async fn take_in(&self, round: u64, consumers: &mut SelectAll<BoxStream<'static, Came>>) -> PortError {
        loop {
            let delivered = match consumers.next().await {
                Some((lane, Some(Ok(delivered)))) => (lane, delivered),
                Some((_, Some(Err(error)))) => return failed(CONSUME)(error),
                Some((_, None)) | None => {
                    return PortError::new(PortErrorKind::Unavailable, CONSUME, "RabbitMQ has cancelled a consumer");
                }
            };
            self.note(round, delivered);
        }
    }

    fn note(&self, round: u64, (lane, delivered): (usize, Delivered)) {
        let mut state = self.state();
        if state.round != round {
            return;
        }
        let tag = state.windows.note(lane, delivered.delivery_tag);
        let given_up = lane + 1 == state.channels.len();
        let now = self.options.clock.now();
        state.ready.push_back(message::delivery(delivered, tag, now, self.options.address.user(), given_up));
        drop(state);
        self.came.notify_one();
    }

    async fn work(&self, health: &watch::Sender<Health>) -> Result<(), PortError> {
        let connection = connect(&self.options.address, Self::NAME, &self.silent).await?;
        let declared = self.declared.load(Ordering::Relaxed);
        topology::refuse_other_partitions(&connection, &self.options, declared).await?;
        // What only one system needs must not hold up all, once it was as it should be.
        let objects = if declared { topology::common(&self.options) } else { topology::objects(&self.options) };
        topology::declare(&connection, &objects).await?;
        self.declared.store(true, Ordering::Relaxed);
        let queue = self.options.names.dead();
        let watch_over = watch_over(&connection, &queue, || false);
        tokio::pin!(watch_over);
        tracing::info!(broker = %self.options.address, connection = Self::NAME, "connected to RabbitMQ");
        loop {
            let Round { number, channels, mut consumers } = self.open(&connection).await?;
            health.send_replace(Health::Up);
            tokio::select! {
                error = self.take_in(number, &mut consumers) => return Err(error),
                error = &mut watch_over => return Err(error),
                () = self.stuck.notified() => return Err(too_slow(SETTLE, ANSWER_WITHIN)),
                () = self.again.notified() => {
                    // Closing puts back what is out; only then does the next consumer get it, in its place.
                    for channel in channels {
                        channel.close(200, "once more".into()).await.map_err(failed(CONSUME))?;
                    }
                }
            }
        }
    }
}

impl Session for Inlet {
    const NAME: &'static str = "consume";

    async fn run(&self, health: &watch::Sender<Health>) -> PortError {
        match self.work(health).await {
            Err(error) => error,
            Ok(()) => PortError::new(PortErrorKind::Unavailable, CONSUME, "the session has ended"),
        }
    }

    fn ended(&self) {
        self.state().close();
    }
}
