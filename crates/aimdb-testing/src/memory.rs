//! A connector without a broker: its peer is a table in memory that the test controls.

use aimdb_core::Arc;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Poll, Waker};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use aimdb_core::link::{InboundLink, LinkRequest, LinkStatus, Links, OutboundLink};
use aimdb_core::race::{Either, race};
use aimdb_core::{Connector, Finding, Incoming, Rule, Runtime, RuntimeContext, Spawn};

use crate::connectors;
use crate::host::BoxStage;

/// The first and the longest backoff after a refused connection, or one that was of no use.
const BACKOFF: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(64)];

/// The remote end of links whose scheme is `memory`, for tests without a broker.
///
/// The peer keeps topics in memory and acknowledges each message. Its connection fails at the points that the test
/// [plans](Self::fail). Clones share one peer.
///
/// The [`connector`](Self::connector) keeps the contract of [`Connector`]: it connects again after a backoff, sends
/// unacknowledged messages again, and acknowledges a received message when the record has it. So a message may arrive
/// twice, and no message is lost as long as the peer accepts connections again.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use aimdb_core::{AimDbBuilder, BufferCfg, Incoming, decode_with, encode_with};
/// use aimdb_testing::{Fault, MemoryPeer, TestRuntime};
///
/// let peer = MemoryPeer::new();
/// peer.fail(Fault::Send(2));
/// peer.publish("in", [1]);
/// peer.publish("in", [2]);
///
/// let runtime = Arc::new(TestRuntime::new());
/// let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
/// builder.connector(peer.connector());
/// builder.configure::<u8>("number", |reg| {
///     reg.buffer(BufferCfg::SpmcQueue { capacity: 4 })
///         .link_from("memory://in", decode_with(|message: &Incoming<'_>| Ok::<_, String>(message.payload[0])))
///         .link_to("memory://out", encode_with(|number: &u8, out: &mut Vec<u8>| {
///             out.push(*number);
///             Ok::<_, String>(())
///         }));
/// });
/// let db = builder.build().unwrap();
/// db.start();
/// runtime.advance(Duration::from_secs(1));
/// let report = runtime.block_on(db.shutdown(Duration::from_secs(1)));
///
/// assert!(report.is_clean(), "{report}");
/// assert_eq!(peer.received("out"), [[1], [2]]);
/// let counts = peer.counts();
/// assert_eq!((counts.connections, counts.received, counts.acknowledged), (2, 2, 2));
/// ```
#[derive(Clone)]
pub struct MemoryPeer(Arc<Mutex<Peer>>);

/// A point at which the connection to a [`MemoryPeer`] fails.
///
/// Attempts and messages are counted from 1, over all links and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connector reports a failure and returns before it has connected.
    Start,
    /// The peer refuses the nth attempt to connect.
    Connect(u64),
    /// The connection breaks at the nth message of a record; the peer does not receive it.
    Send(u64),
    /// The peer receives the nth message of a record, and the connection breaks before the acknowledgement. The
    /// connector sends the message again.
    SendAcknowledgement(u64),
    /// The connection breaks at the nth message of the peer; the connector does not receive it.
    Receive(u64),
    /// The record receives the nth message of the peer, and the connection breaks before the acknowledgement. The peer
    /// sends the message again.
    ReceiveAcknowledgement(u64),
    /// The peer sends its nth message again although the connector acknowledged it.
    Repeat(u64),
}

/// Counters of a [`MemoryPeer`], as returned by [`MemoryPeer::counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCounts {
    /// Connections made.
    pub connections: u64,
    /// Attempts to connect that the peer refused.
    pub refused: u64,
    /// Messages received from records, repetitions included.
    pub received: u64,
    /// Messages sent to the connector, repetitions included.
    pub sent: u64,
    /// Messages that the connector has acknowledged, once for each [`publish`](MemoryPeer::publish).
    pub acknowledged: u64,
}

struct Peer {
    accepts_connections: bool,
    /// Each connection ends as soon as it is made.
    ends_early: bool,
    reads: bool,
    /// The number of the open connection.
    connection: Option<u64>,
    counts: PeerCounts,
    /// Attempts to connect, successful or not.
    connect_attempts: u64,
    /// Attempts of records to send a message, successful or not.
    send_attempts: u64,
    faults: Vec<Fault>,
    received: BTreeMap<String, Vec<Vec<u8>>>,
    /// The messages that are not acknowledged, oldest first.
    published: BTreeMap<String, VecDeque<Published>>,
    /// The messages acknowledged, by topic.
    acknowledged: BTreeMap<String, usize>,
    /// The connection on which the peer has sent rubbish.
    rubbish: Option<u64>,
    /// The wakers of the tasks that wait for a change.
    wakers: Vec<Waker>,
}

/// A message that the peer sends until it is acknowledged.
#[derive(Clone)]
struct Published {
    payload: Vec<u8>,
    /// The peer sends it once more, although it is acknowledged.
    repeats: bool,
}

/// The error of an operation on a connection that is no longer open.
struct Disconnected;

/// Why an inbound link has no message.
enum Lost {
    Disconnected,
    /// The connector has ended the connection: it does not understand the peer.
    Rubbish,
}

impl MemoryPeer {
    /// Creates a peer that accepts connections and has no messages.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Peer {
            accepts_connections: true,
            ends_early: false,
            reads: true,
            connection: None,
            counts: PeerCounts::default(),
            connect_attempts: 0,
            send_attempts: 0,
            faults: Vec::new(),
            received: BTreeMap::new(),
            published: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            rubbish: None,
            wakers: Vec::new(),
        })))
    }

    /// Returns the connector of the scheme `memory`. A peer serves one connector at a time.
    #[must_use]
    pub fn connector(&self) -> MemoryConnector {
        MemoryConnector(self.clone())
    }

    /// Plans a failure: the connection fails at this point, once.
    pub fn fail(&self, fault: Fault) {
        self.change(|peer| peer.faults.push(fault));
    }

    /// Closes the connection and refuses new ones until [`accept`](Self::accept).
    pub fn disconnect(&self) {
        self.change(|peer| {
            peer.accepts_connections = false;
            peer.connection = None;
        });
    }

    /// Accepts connections again after [`disconnect`](Self::disconnect).
    pub fn accept(&self) {
        self.change(|peer| peer.accepts_connections = true);
    }

    /// Breaks the connection. The next one may be made at once.
    ///
    /// ```
    /// use aimdb_testing::MemoryPeer;
    ///
    /// let peer = MemoryPeer::new();
    /// peer.cut();
    /// assert_eq!(peer.counts().refused, 0);
    /// ```
    pub fn cut(&self) {
        self.change(|peer| peer.connection = None);
    }

    /// Stops to read: messages of records wait at the connector, which holds each link's next one.
    pub fn pause_reading(&self) {
        self.change(|peer| peer.reads = false);
    }

    /// Reads again after [`pause_reading`](Self::pause_reading).
    pub fn resume_reading(&self) {
        self.change(|peer| peer.reads = true);
    }

    /// Sends what the connector does not understand: it reports an error and breaks the connection.
    pub fn publish_rubbish(&self) {
        self.change(|peer| peer.rubbish = peer.connection);
    }

    /// Sends a message to the record that is linked from `topic`.
    ///
    /// The peer keeps the message until the connector acknowledges it. At most one link may read a topic.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish_message(topic, Published { payload: payload.into(), repeats: false });
    }

    /// Sends a message as [`publish`](Self::publish) does, and once more after its acknowledgement.
    pub fn publish_twice(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish_message(topic, Published { payload: payload.into(), repeats: true });
    }

    fn publish_message(&self, topic: &str, message: Published) {
        self.change(|peer| peer.published.entry(topic.to_owned()).or_default().push_back(message));
    }

    /// Returns the messages received under `topic`, oldest first.
    #[must_use]
    pub fn received(&self, topic: &str) -> Vec<Vec<u8>> {
        self.with(|peer| peer.received.get(topic).cloned().unwrap_or_default())
    }

    /// Returns the number of published messages under `topic` that are not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, topic: &str) -> usize {
        self.with(|peer| peer.published.get(topic).map_or(0, VecDeque::len))
    }

    /// Returns the counters.
    #[must_use]
    pub fn counts(&self) -> PeerCounts {
        self.with(|peer| peer.counts)
    }

    fn with<O>(&self, work: impl FnOnce(&mut Peer) -> O) -> O {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the peer, then wakes the tasks that wait for a change, outside of the lock.
    fn change<O>(&self, work: impl FnOnce(&mut Peer) -> O) -> O {
        let (outcome, wakers) = self.with(|peer| (work(peer), core::mem::take(&mut peer.wakers)));
        wakers.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Waits until `ready` returns an outcome. It may change the peer when it does.
    async fn wait_until<O>(&self, ready: impl Fn(&mut Peer) -> Option<O>) -> O {
        poll_fn(|cx| {
            let outcome = self.with(|peer| {
                let outcome = ready(peer);
                if outcome.is_none() && !peer.wakers.iter().any(|w| w.will_wake(cx.waker())) {
                    peer.wakers.push(cx.waker().clone());
                }
                outcome
            });
            match outcome {
                Some(outcome) => Poll::Ready(self.change(|_| outcome)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Returns the number of the open connection, or of a new one.
    fn connect(&self) -> Result<u64, Disconnected> {
        self.change(|peer| {
            if let Some(connection) = peer.connection {
                return Ok(connection);
            }
            peer.connect_attempts += 1;
            let fails = peer.take_fault(Fault::Connect(peer.connect_attempts));
            if fails || !peer.accepts_connections {
                peer.counts.refused += 1;
                return Err(Disconnected);
            }
            peer.counts.connections += 1;
            peer.connection = (!peer.ends_early).then_some(peer.counts.connections);
            Ok(peer.counts.connections)
        })
    }

    fn has_connection(&self, number: u64) -> bool {
        self.with(|peer| peer.connection == Some(number))
    }

    /// Sends one message to the peer, which acknowledges it as soon as it has read it.
    async fn send(&self, connection: u64, topic: &str, payload: &[u8]) -> Result<(), Disconnected> {
        self.wait_until(|peer| {
            if let Err(disconnected) = peer.check_connection(connection) {
                return Some(Err(disconnected));
            }
            peer.reads.then(|| peer.read(topic, payload))
        })
        .await
    }

    /// Waits for the oldest unacknowledged message under `topic`. Returns it with its number among those sent.
    async fn next(&self, connection: u64, topic: &str) -> Result<(u64, Vec<u8>), Lost> {
        self.wait_until(|peer| {
            if peer.connection != Some(connection) {
                return Some(Err(Lost::Disconnected));
            }
            if peer.rubbish == Some(connection) {
                (peer.rubbish, peer.connection) = (None, None);
                return Some(Err(Lost::Rubbish));
            }
            let payload = peer.published.get(topic)?.front()?.payload.clone();
            peer.counts.sent += 1;
            let nth = peer.counts.sent;
            let sent = peer.break_at(Fault::Receive(nth));
            Some(sent.map(|()| (nth, payload)).map_err(|Disconnected| Lost::Disconnected))
        })
        .await
    }

    /// Acknowledges the `nth` message sent, which is the oldest under `topic`.
    fn acknowledge(&self, connection: u64, topic: &str, nth: u64) -> Result<(), Disconnected> {
        self.change(|peer| {
            peer.check_connection(connection)?;
            peer.break_at(Fault::ReceiveAcknowledgement(nth))?;
            let repeats = peer.take_fault(Fault::Repeat(nth));
            let Some(messages) = peer.published.get_mut(topic) else { return Ok(()) };
            match messages.front_mut() {
                Some(message) if message.repeats => message.repeats = false,
                Some(_) if !repeats => {
                    messages.pop_front();
                    peer.counts.acknowledged += 1;
                    *peer.acknowledged.entry(topic.to_owned()).or_default() += 1;
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// Waits until this connection is closed.
    async fn disconnected(&self, connection: u64) {
        self.wait_until(|peer| (peer.connection != Some(connection)).then_some(())).await;
    }
}

impl Peer {
    /// Receives a message of a record.
    fn read(&mut self, topic: &str, payload: &[u8]) -> Result<(), Disconnected> {
        self.send_attempts += 1;
        let nth = self.send_attempts;
        self.break_at(Fault::Send(nth))?;
        self.counts.received += 1;
        self.received.entry(topic.to_owned()).or_default().push(payload.to_owned());
        self.break_at(Fault::SendAcknowledgement(nth))
    }

    /// Fails unless this connection is open.
    fn check_connection(&self, connection: u64) -> Result<(), Disconnected> {
        if self.connection == Some(connection) { Ok(()) } else { Err(Disconnected) }
    }

    /// Whether a failure is planned at this point. Removes it from the plan.
    fn take_fault(&mut self, here: Fault) -> bool {
        let planned = self.faults.iter().position(|&fault| fault == here);
        planned.is_some_and(|planned| {
            self.faults.swap_remove(planned);
            true
        })
    }

    /// Closes the connection if a failure is planned at this point.
    fn break_at(&mut self, here: Fault) -> Result<(), Disconnected> {
        if !self.take_fault(here) {
            return Ok(());
        }
        self.connection = None;
        Err(Disconnected)
    }
}

/// The peer under the cases of the [connector suite](crate::connectors).
impl connectors::Peer for MemoryPeer {
    fn stop(&self) {
        self.disconnect();
    }

    fn start(&self) {
        self.change(|peer| peer.ends_early = false);
        self.accept();
    }

    fn refuse(&self) {
        self.disconnect();
    }

    fn end_early(&self) {
        self.disconnect();
        self.change(|peer| peer.ends_early = true);
        self.accept();
    }

    fn cut(&self) {
        self.cut();
    }

    fn hang_up(&self) {
        self.cut();
    }

    fn pause_reading(&self) {
        self.pause_reading();
    }

    fn resume_reading(&self) {
        self.resume_reading();
    }

    fn send(&self, topic: &str, payload: &[u8]) {
        self.publish(topic, payload);
    }

    fn send_twice(&self, topic: &str, payload: &[u8]) {
        self.publish_twice(topic, payload);
    }

    fn send_half(&self, topic: &str, payload: &[u8]) {
        self.fail(Fault::Receive(self.counts().sent + 1));
        self.publish(topic, payload);
    }

    fn send_rubbish(&self, _: usize) {
        self.publish_rubbish();
    }

    fn kinds_of_rubbish(&self) -> usize {
        1
    }

    fn received(&self, topic: &str) -> Vec<Vec<u8>> {
        self.received(topic)
    }

    fn acknowledged(&self, topic: &str) -> usize {
        self.with(|peer| peer.acknowledged.get(topic).copied().unwrap_or(0))
    }

    fn is_connected(&self) -> bool {
        self.with(|peer| peer.connection.is_some())
    }

    fn attempts(&self) -> usize {
        self.with(|peer| peer.connect_attempts as usize)
    }
}

impl Default for MemoryPeer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryPeer").field(&self.counts()).finish()
    }
}

/// The connector of a [`MemoryPeer`], created by [`MemoryPeer::connector`].
#[derive(Debug)]
pub struct MemoryConnector(MemoryPeer);

impl<R> Connector<R> for MemoryConnector
where
    R: Runtime<Sleep: Send> + Spawn<BoxStage>,
{
    type Run = BoxStage;

    fn name(&self) -> &str {
        "memory"
    }

    fn describe(&self) -> String {
        "topics in memory".into()
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let with_options = links.iter().filter(|link| !link.address.options.is_empty());
        with_options
            .map(|link| {
                let problem = alloc::format!("its link `{}` has options", link.address);
                Finding::new(
                    Rule::BadOption,
                    link.record,
                    problem,
                    "remove them: the connector `memory` has none",
                )
            })
            .collect()
    }

    fn run(self, links: Links, context: RuntimeContext<R>) -> BoxStage {
        Box::pin(async move {
            if self.0.with(|peer| peer.take_fault(Fault::Start)) {
                return context.fail("the peer in memory refuses to start");
            }
            let _closed_at_the_end = Connection(self.0.clone());
            let Links { outbound, inbound, .. } = links;
            let mut tasks: Vec<BoxStage> = Vec::new();
            for link in outbound {
                tasks.push(Box::pin(send(self.0.clone(), link, context.clone())));
            }
            for link in inbound {
                tasks.push(Box::pin(receive(self.0.clone(), link, context.clone())));
            }
            join_all(tasks).await;
        })
    }
}

/// Closes the connection when the connector ends, also when a shutdown aborts it at its deadline.
struct Connection(MemoryPeer);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// Runs all futures to their ends, in one task.
async fn join_all(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The connection of one link, and the pause before the next attempt.
struct LinkConnection {
    /// The link's connection, or its last one.
    number: Option<u64>,
    backoff: Duration,
    /// A message went through since the last attempt. So the next one follows without a pause.
    is_proven: bool,
}

impl LinkConnection {
    fn new() -> Self {
        Self { number: None, backoff: BACKOFF[0], is_proven: true }
    }

    /// A message went through: the connection is of use.
    fn prove(&mut self) {
        (self.backoff, self.is_proven) = (BACKOFF[0], true);
    }

    /// Waits for a connection, and sets the link's status.
    async fn connect<R: Runtime>(
        &mut self,
        peer: &MemoryPeer,
        status: &LinkStatus,
        context: &RuntimeContext<R>,
    ) -> u64 {
        loop {
            if self.number.is_some_and(|number| !peer.has_connection(number)) {
                status.set_disconnected();
            } else if let Some(number) = self.number {
                return number;
            }
            if !core::mem::take(&mut self.is_proven) {
                let pause = self.backoff;
                self.backoff = BACKOFF[1].min(pause * 2);
                context.time().sleep(pause).await;
            }
            match peer.connect() {
                Ok(number) => {
                    self.number = Some(number);
                    status.set_connected();
                    return number;
                }
                Err(Disconnected) => {
                    status.set_disconnected();
                    status.set_error("the peer refused the connection");
                }
            }
        }
    }
}

/// Sends a record's values to the peer. Returns when the record is drained and the peer has acknowledged each value.
async fn send<R: Runtime>(peer: MemoryPeer, mut link: OutboundLink, context: RuntimeContext<R>) {
    let status = Arc::clone(link.status());
    let topic = link.address().topic.clone();
    let (mut payload, mut link_connection) = (Vec::new(), LinkConnection::new());
    loop {
        let ready = link_connection.connect(&peer, &status, &context);
        let Either::First(mut connection) = race(ready, link.drained()).await else { return };
        // The link takes a value only while a connection is open.
        let outgoing = match race(link.next(&mut payload), peer.disconnected(connection)).await {
            Either::First(Ok(outgoing)) => outgoing,
            Either::First(Err(_closed)) => return,
            Either::Second(()) => continue,
        };
        status.set_in_flight(1);
        let topic = outgoing.topic.as_ref().unwrap_or(&topic);
        while let Err(Disconnected) = peer.send(connection, topic, &payload).await {
            connection = link_connection.connect(&peer, &status, &context).await;
        }
        link_connection.prove();
        status.count_sent();
        status.set_in_flight(0);
    }
}

/// Delivers the peer's messages to a record. Returns when a shutdown begins or the record is closed.
async fn receive<R: Runtime>(peer: MemoryPeer, mut link: InboundLink, context: RuntimeContext<R>) {
    let status = Arc::clone(link.status());
    let topic = link.address().topic.clone();
    let mut link_connection = LinkConnection::new();
    loop {
        let next = async {
            let connection = link_connection.connect(&peer, &status, &context).await;
            (connection, peer.next(connection, &topic).await)
        };
        let (connection, message) = match race(context.stopping(), next).await {
            Either::First(()) => return,
            Either::Second(next) => next,
        };
        let (nth, payload) = match message {
            Ok(message) => {
                link_connection.prove();
                message
            }
            Err(Lost::Disconnected) => continue,
            Err(Lost::Rubbish) => {
                status.set_error("the peer sent what is no message");
                continue;
            }
        };
        // The record may be full. Meanwhile the link follows the connection.
        let follow = async {
            let mut followed = connection;
            loop {
                peer.disconnected(followed).await;
                followed = link_connection.connect(&peer, &status, &context).await;
            }
        };
        let delivery = link.deliver(Incoming::new(&topic, &payload));
        let Either::First(delivered) = race(delivery, follow).await;
        if delivered.is_err() {
            return;
        }
        // Without an acknowledgement the peer sends the message again.
        let _disconnected = peer.acknowledge(connection, &topic, nth);
    }
}
