//! A connector without a broker: its peer is a table in memory that the test holds.

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

use crate::host::BoxStage;

/// The first pause after a refused connection, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(64)];

/// The peer of links whose scheme is `memory`: topics in memory, an acknowledgement for each message, and a connection
/// that fails where the test says. Clones are the same peer.
///
/// The connector that [`connector`](Self::connector) gives keeps the contract of [`Connector`]: it connects again after
/// a pause, it sends again what was not acknowledged, and it acknowledges what came in when the record has it. So a
/// message may arrive twice, and none is lost while the peer comes back.
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

/// Where the connection to a [`MemoryPeer`] fails. Everything is counted from 1, over all links and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connector reports a failure and returns, before it has connected.
    Start,
    /// The nth attempt to connect is refused.
    Connect(u64),
    /// The connection breaks instead of the nth message that a record sends; the peer does not get it.
    Send(u64),
    /// The peer gets the nth message that a record sends, and the connection breaks before the acknowledgement. The
    /// message comes again.
    SendAcknowledgement(u64),
    /// The connection breaks instead of the nth message that the peer sends.
    Receive(u64),
    /// The record gets the nth message that the peer sends, and the connection breaks before the acknowledgement. The
    /// peer sends the message again.
    ReceiveAcknowledgement(u64),
    /// The peer sends the nth message twice though it was acknowledged.
    Repeat(u64),
}

/// The counts of a [`MemoryPeer`] so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// Connections made.
    pub connections: u64,
    /// Attempts to connect that were refused.
    pub refused: u64,
    /// Messages that came from records, those that came again included.
    pub received: u64,
    /// Messages given to the connector, those that were given again included.
    pub given: u64,
    /// Messages that the connector has acknowledged, once for each [`publish`](MemoryPeer::publish).
    pub acknowledged: u64,
}

struct Peer {
    /// Whether it accepts connections.
    up: bool,
    /// The number of the connection there is.
    connection: Option<u64>,
    counts: PeerCounts,
    /// How many times a connection was asked for, and a message was sent, whatever came of it.
    attempts: [u64; 2],
    faults: Vec<Fault>,
    received: BTreeMap<String, Vec<Vec<u8>>>,
    /// The messages that are not acknowledged, oldest first.
    published: BTreeMap<String, VecDeque<Vec<u8>>>,
    /// The wakers of the tasks that wait for a change.
    waiting: Vec<Waker>,
}

/// The connection is gone.
struct Broken;

impl MemoryPeer {
    /// A peer that accepts connections and has no messages.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Peer {
            up: true,
            connection: None,
            counts: PeerCounts::default(),
            attempts: [0; 2],
            faults: Vec::new(),
            received: BTreeMap::new(),
            published: BTreeMap::new(),
            waiting: Vec::new(),
        })))
    }

    /// The connector of the scheme `memory`. A peer may have one at a time.
    #[must_use]
    pub fn connector(&self) -> MemoryConnector {
        MemoryConnector(self.clone())
    }

    /// Makes the connection fail at this point, once.
    pub fn fail(&self, fault: Fault) {
        self.change(|peer| peer.faults.push(fault));
    }

    /// Breaks the connection and refuses every other one, until [`accept`](Self::accept).
    pub fn disconnect(&self) {
        self.change(|peer| {
            peer.up = false;
            peer.connection = None;
        });
    }

    /// Accepts connections again.
    pub fn accept(&self) {
        self.change(|peer| peer.up = true);
    }

    /// Sends a message to the record that is linked from `topic`; one link at most. It is kept until the connector acknowledges it.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        self.change(|peer| peer.published.entry(topic.to_owned()).or_default().push_back(payload));
    }

    /// The messages that came under `topic`, oldest first.
    #[must_use]
    pub fn received(&self, topic: &str) -> Vec<Vec<u8>> {
        self.look(|peer| peer.received.get(topic).cloned().unwrap_or_default())
    }

    /// How many messages under `topic` are not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, topic: &str) -> usize {
        self.look(|peer| peer.published.get(topic).map_or(0, VecDeque::len))
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> PeerCounts {
        self.look(|peer| peer.counts)
    }

    fn look<O>(&self, at: impl FnOnce(&mut Peer) -> O) -> O {
        at(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the peer and wakes the tasks that wait for a change.
    fn change<O>(&self, make: impl FnOnce(&mut Peer) -> O) -> O {
        let (outcome, waiting) = self.look(|peer| (make(peer), core::mem::take(&mut peer.waiting)));
        waiting.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Waits until `ready` gives something, which changes the peer.
    async fn until<O>(&self, ready: impl Fn(&mut Peer) -> Option<O>) -> O {
        poll_fn(|cx| {
            let outcome = self.look(|peer| {
                let outcome = ready(peer);
                if outcome.is_none() && !peer.waiting.iter().any(|w| w.will_wake(cx.waker())) {
                    peer.waiting.push(cx.waker().clone());
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

    /// Tries to connect, unless there is a connection. Gives its number.
    fn connect(&self) -> Result<u64, Broken> {
        self.change(|peer| {
            if let Some(connection) = peer.connection {
                return Ok(connection);
            }
            peer.attempts[0] += 1;
            if !peer.up | peer.fails(Fault::Connect(peer.attempts[0])) {
                peer.counts.refused += 1;
                return Err(Broken);
            }
            peer.counts.connections += 1;
            peer.connection = Some(peer.counts.connections);
            Ok(peer.counts.connections)
        })
    }

    /// Sends one message and waits for the acknowledgement, which comes at once.
    fn send(&self, connection: u64, topic: &str, payload: &[u8]) -> Result<(), Broken> {
        self.change(|peer| {
            peer.holds(connection)?;
            peer.attempts[1] += 1;
            let nth = peer.attempts[1];
            peer.breaks(Fault::Send(nth))?;
            peer.counts.received += 1;
            peer.received.entry(topic.to_owned()).or_default().push(payload.to_owned());
            peer.breaks(Fault::SendAcknowledgement(nth))
        })
    }

    /// The oldest message under `topic` that is not acknowledged, and its number among those given.
    async fn next(&self, connection: u64, topic: &str) -> Result<(u64, Vec<u8>), Broken> {
        self.until(|peer| {
            if peer.connection != Some(connection) {
                return Some(Err(Broken));
            }
            let payload = peer.published.get(topic)?.front()?.clone();
            peer.counts.given += 1;
            let nth = peer.counts.given;
            Some(peer.breaks(Fault::Receive(nth)).map(|()| (nth, payload)))
        })
        .await
    }

    /// Acknowledges the `nth` message given, which is the oldest under `topic`.
    fn acknowledge(&self, connection: u64, topic: &str, nth: u64) -> Result<(), Broken> {
        self.change(|peer| {
            peer.holds(connection)?;
            peer.breaks(Fault::ReceiveAcknowledgement(nth))?;
            if !peer.fails(Fault::Repeat(nth)) {
                peer.counts.acknowledged += 1;
                peer.published.get_mut(topic).and_then(VecDeque::pop_front);
            }
            Ok(())
        })
    }

    /// Waits for the end of this connection.
    async fn broken(&self, connection: u64) {
        self.until(|peer| (peer.connection != Some(connection)).then_some(())).await;
    }
}

impl Peer {
    /// Whether this is the connection that there is.
    fn holds(&self, connection: u64) -> Result<(), Broken> {
        if self.connection == Some(connection) { Ok(()) } else { Err(Broken) }
    }

    /// Whether it must fail here.
    fn fails(&mut self, here: Fault) -> bool {
        let planned = self.faults.iter().position(|&fault| fault == here);
        planned.is_some_and(|planned| {
            self.faults.swap_remove(planned);
            true
        })
    }

    /// Breaks the connection if it must fail here.
    fn breaks(&mut self, here: Fault) -> Result<(), Broken> {
        if !self.fails(here) {
            return Ok(());
        }
        self.connection = None;
        Err(Broken)
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

/// The connector of a [`MemoryPeer`]; made by [`MemoryPeer::connector`].
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
        let odd = links.iter().filter(|link| !link.address.options.is_empty());
        odd.map(|link| {
            let problem = alloc::format!("its link `{}` has options", link.address);
            Finding::new(Rule::BadOption, link.record, problem, "a link in memory has none")
        })
        .collect()
    }

    fn run(self, links: Links, context: RuntimeContext<R>) -> BoxStage {
        Box::pin(async move {
            if self.0.look(|peer| peer.fails(Fault::Start)) {
                return context.fail("the peer in memory refuses to start");
            }
            let Links { outbound, inbound, .. } = links;
            let mut served: Vec<BoxStage> = Vec::new();
            for link in outbound {
                served.push(Box::pin(send(self.0.clone(), link, context.clone())));
            }
            for link in inbound {
                served.push(Box::pin(receive(self.0.clone(), link, context.clone())));
            }
            all(served).await;
        })
    }
}

/// Runs them side by side until all have ended.
async fn all(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Waits for a connection, and notes it in the link's counters.
async fn connected<R: Runtime>(
    peer: &MemoryPeer,
    status: &LinkStatus,
    context: &RuntimeContext<R>,
) -> u64 {
    status.set_disconnected();
    let [mut pause, longest] = PAUSES;
    loop {
        if let Ok(connection) = peer.connect() {
            status.set_connected();
            return connection;
        }
        status.set_error("the peer refused the connection");
        context.time().sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

/// Brings a record's values to the peer, until the record is closed and each of them was acknowledged.
async fn send<R: Runtime>(peer: MemoryPeer, mut link: OutboundLink, context: RuntimeContext<R>) {
    let status = Arc::clone(link.status());
    let topic = link.address().topic.clone();
    let mut payload = Vec::new();
    loop {
        let ready = connected(&peer, &status, &context);
        let Either::First(mut connection) = race(ready, link.drained()).await else { return };
        // A value is taken only while there is a connection to send it by.
        let outgoing = match race(link.next(&mut payload), peer.broken(connection)).await {
            Either::First(Ok(outgoing)) => outgoing,
            Either::First(Err(_closed)) => return,
            Either::Second(()) => continue,
        };
        status.set_in_flight(1);
        let topic = outgoing.topic.as_ref().unwrap_or(&topic);
        while let Err(Broken) = peer.send(connection, topic, &payload) {
            connection = connected(&peer, &status, &context).await;
        }
        status.count_sent();
        status.set_in_flight(0);
    }
}

/// Brings the peer's messages into a record, until a shutdown begins.
async fn receive<R: Runtime>(peer: MemoryPeer, mut link: InboundLink, context: RuntimeContext<R>) {
    let status = Arc::clone(link.status());
    let topic = link.address().topic.clone();
    loop {
        let next = async {
            let connection = connected(&peer, &status, &context).await;
            (connection, peer.next(connection, &topic).await)
        };
        let (connection, message) = match race(context.stopping(), next).await {
            Either::First(()) => return,
            Either::Second(next) => next,
        };
        let Ok((nth, payload)) = message else { continue };
        let incoming = Incoming::new(&topic, &payload);
        if link.deliver(incoming).await.is_err() {
            return;
        }
        // A peer that gets no acknowledgement gives the message again.
        let _again = peer.acknowledge(connection, &topic, nth);
    }
}
