//! A database with the connector under test, its peer, and waiting with a time limit.

use core::fmt::Debug;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use aimdb_core::metrics::{LinkMetrics, RecordMetrics};
use aimdb_core::race::{Either, race};
use aimdb_core::{
    AimDb, AimDbBuilder, Arc, BufferCfg, Incoming, Reader, Runtime, ShutdownReport,
    TryProduceError, decode_with, encode_with,
};

use super::peer::Peer;
use super::subject::{FaultCount, Subject};

/// The time limit of every wait, long enough for a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// After this time without an event, a case concludes that none follows. On a slow machine a case may miss a fault; it
/// never fails wrongly.
pub(super) const QUIET: Duration = Duration::from_millis(200);

/// The time between two looks at something that has no event.
pub(super) const LOOK: Duration = Duration::from_millis(4);

/// A queue that no case fills.
pub(super) const ROOMY: BufferCfg = BufferCfg::SpmcQueue { capacity: 1024 };

/// A database with one connector, and the connector's peer.
pub(super) struct Bench<S: Subject> {
    pub(super) runtime: Arc<S::Runtime>,
    pub(super) db: AimDb<S::Runtime>,
    pub(super) peer: S::Peer,
    pub(super) faults: FaultCount,
}

/// Declares the records of a case.
pub(super) struct Records<'b, S: Subject>(pub(super) &'b mut AimDbBuilder<S::Runtime>);

impl<S: Subject> Records<'_, S> {
    /// A record whose values are sent under its key as the topic.
    pub(super) fn send(&mut self, key: &'static str, buffer: BufferCfg) -> &mut Self {
        self.send_padded(key, buffer, 0)
    }

    /// Like [`send`](Self::send), with payloads of at least `bytes` bytes.
    pub(super) fn send_padded(
        &mut self,
        key: &'static str,
        buffer: BufferCfg,
        bytes: usize,
    ) -> &mut Self {
        let codec = encode_with(move |number: &u64, out: &mut Vec<u8>| {
            out.extend_from_slice(format!("{number:<bytes$}").as_bytes());
            Ok::<_, String>(())
        });
        self.0.configure::<u64>(key, |reg| {
            reg.buffer(buffer).written_from_outside().link_to(S::outbound(key), codec);
        });
        self
    }

    /// A record that receives the messages of the topic with its key's name.
    pub(super) fn receive(&mut self, key: &'static str, buffer: BufferCfg) -> &mut Self {
        let codec = decode_with(|message: &Incoming<'_>| {
            number_of(message.payload).ok_or_else(|| String::from("it is not a number"))
        });
        self.0.configure::<u64>(key, |reg| {
            reg.buffer(buffer).read_from_outside().link_from(S::inbound(key), codec);
        });
        self
    }
}

impl<S: Subject> Bench<S> {
    /// A database that is not started yet.
    pub(super) fn build(
        runtime: Arc<S::Runtime>,
        declare: impl FnOnce(&mut Records<'_, S>),
    ) -> Self {
        let peer = S::peer();
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
        let faults = S::connect(&mut builder, &peer);
        declare(&mut Records(&mut builder));
        let db = builder.build().unwrap_or_else(|error| panic!("{error}"));
        Self { runtime, db, peer, faults }
    }

    /// A database whose links are all connected.
    pub(super) async fn start(
        runtime: Arc<S::Runtime>,
        declare: impl FnOnce(&mut Records<'_, S>),
    ) -> Self {
        let bench = Self::build(runtime, declare);
        bench.db.start();
        bench.connected().await;
        bench
    }

    pub(super) fn reader(&self, key: &'static str) -> Reader<u64> {
        let consumer = self.db.consumer::<u64>(key).expect("the record exists");
        consumer.subscribe().expect("the record is open")
    }

    /// Writes the numbers to the record, one after the other. Waits while a queue is full.
    pub(super) async fn produce(&self, key: &'static str, numbers: impl IntoIterator<Item = u64>) {
        let producer = self.db.producer::<u64>(key).expect("the record exists");
        for number in numbers {
            let produced = producer.produce(number);
            self.within("a write", produced).await.expect("the record is open");
        }
    }

    /// Writes numbers without a wait until the record is full. Returns the first number without room, or `end`.
    pub(super) fn fill(&self, key: &'static str, from: u64, end: u64) -> u64 {
        let producer = self.db.producer::<u64>(key).expect("the record exists");
        for number in from..end {
            match producer.try_produce(number) {
                Ok(()) => {}
                Err(TryProduceError::Full(_)) => return number,
                Err(error) => panic!("record `{key}`: {error}"),
            }
        }
        end
    }

    /// Sends the number as a message of the peer, and waits until the record has it.
    pub(super) async fn exchange(&self, reader: &mut Reader<u64>, topic: &str, number: u64) {
        self.peer.send(topic, number.to_string().as_bytes());
        assert_eq!(self.value(reader).await, number, "on `{topic}`");
    }

    /// Like [`exchange`](Self::exchange), and waits for the acknowledgement where there is one: if the connection broke before
    /// it, the peer would send the message again.
    pub(super) async fn exchange_acknowledged(
        &self,
        reader: &mut Reader<u64>,
        topic: &str,
        number: u64,
    ) {
        let before = self.peer.acknowledged(topic);
        self.exchange(reader, topic, number).await;
        if S::PROMISES.acknowledges() {
            let acknowledged = || self.peer.acknowledged(topic);
            self.eventually("an acknowledgement", acknowledged, |count| *count > before).await;
        }
    }

    /// The next value of the record.
    pub(super) async fn value(&self, reader: &mut Reader<u64>) -> u64 {
        self.within("a value", reader.recv()).await.expect("the record is open")
    }

    /// The numbers that the peer has received under `topic`.
    pub(super) fn received(&self, topic: &str) -> Vec<u64> {
        let payloads = self.peer.received(topic);
        let numbers = payloads.iter().map(|payload| number_of(payload).expect("a value"));
        numbers.collect()
    }

    /// Waits until the peer has received exactly these numbers under `topic`, and the link has counted each as sent.
    pub(super) async fn peer_receives(&self, topic: &str, numbers: impl IntoIterator<Item = u64>) {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        self.eventually(
            &format!("the peer receives {} values of `{topic}`", numbers.len()),
            || self.peer.received(topic).len(),
            |count| *count >= numbers.len(),
        )
        .await;
        assert_eq!(self.received(topic), numbers, "on `{topic}`");
        let sent = || self.link(topic).sent;
        self.eventually("each is counted as sent", sent, |sent| *sent >= numbers.len() as u64)
            .await;
    }

    /// The counters of the record's only link.
    pub(super) fn link(&self, key: &str) -> LinkMetrics {
        let metrics = self.db.metrics();
        metrics.links.into_iter().find(|link| link.key == key).expect("the record has a link")
    }

    pub(super) fn record(&self, key: &str) -> RecordMetrics {
        self.db.metrics().record(key).expect("the record exists").clone()
    }

    /// Waits until both ends have the connection: over TCP a connector may have it before its peer has accepted it.
    pub(super) async fn connected(&self) {
        self.eventually(
            "every link is connected",
            || self.db.health(),
            |health| health.links.iter().all(|link| link.connected),
        )
        .await;
        let has_connection = || self.peer.is_connected();
        self.eventually("the peer has accepted the connection", has_connection, |has| *has).await;
    }

    pub(super) async fn disconnected(&self) {
        self.eventually(
            "every link is disconnected",
            || self.db.health(),
            |health| health.links.iter().all(|link| !link.connected),
        )
        .await;
    }

    /// The sum of the reconnects of all links.
    pub(super) fn reconnects(&self) -> u64 {
        self.db.metrics().links.iter().map(|link| link.reconnects).sum()
    }

    /// Waits until `condition` holds for `observe()`.
    pub(super) async fn eventually<D: Debug>(
        &self,
        what: &str,
        observe: impl Fn() -> D,
        condition: impl Fn(&D) -> bool,
    ) {
        let deadline = self.runtime.now() + LIMIT;
        loop {
            let observed = observe();
            if condition(&observed) {
                return;
            }
            let in_time = self.runtime.now() < deadline;
            assert!(in_time, "not within {LIMIT:?}: {what}: {observed:#?}");
            self.sleep(LOOK).await;
        }
    }

    /// Waits for the future.
    pub(super) async fn within<F: Future>(&self, what: &str, future: F) -> F::Output {
        self.in_time(LIMIT, future).await.unwrap_or_else(|| panic!("{what} took over {LIMIT:?}"))
    }

    /// The output of the future, unless it takes longer than `limit`.
    pub(super) async fn in_time<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        match race(future, self.sleep(limit)).await {
            Either::First(output) => Some(output),
            Either::Second(()) => None,
        }
    }

    pub(super) async fn sleep(&self, pause: Duration) {
        self.runtime.sleep_until(self.runtime.now() + pause).await;
    }

    /// Shuts down, and asserts that every value was delivered or counted and nothing has failed.
    pub(super) async fn shut_down(&self) -> ShutdownReport {
        let report = self.db.shutdown(LIMIT).await;
        assert!(report.is_clean() && report.failures.is_empty(), "{report}");
        for account in self.db.metrics().accounts() {
            assert!(account.is_balanced(), "{account}");
        }
        report
    }
}

/// Runs both futures to their ends.
pub(super) async fn join<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(|cx| {
        if a.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(cx)
        {
            a = Some(output);
        }
        if b.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(cx)
        {
            b = Some(output);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            waiting => {
                (a, b) = waiting;
                Poll::Pending
            }
        }
    })
    .await
}

fn number_of(payload: &[u8]) -> Option<u64> {
    core::str::from_utf8(payload).ok()?.trim_end().parse().ok()
}
