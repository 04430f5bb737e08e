//! The events of a database, as a stream and as a hook.
//!
//! ```text
//!   stages, restarts ─┐                    one queue,    ┌─▶ the hook of the builder
//!   links             ├─▶ EventHub::emit ──────────────▶──┤
//!   shutdown, monitor ┘   if anyone listens              └─▶ DbEvents: one bounded queue for each stream
//! ```
//!
//! Events have one order, that of the queue, and one thread at a time takes from it: the thread of an event, or one that is
//! already taking. A cause emits before its effects can (the failure of a stage before the shutdown that it begins), because
//! it queues its event before it lets them happen.
//!
//! Nothing waits for a listener. A stream that is not read loses its oldest events and counts them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::address::Direction;
use crate::clock::{Instant, UnixTime};
use crate::owner::StageId;
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime, log};
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use crate::sync::{Arc, AtomicWaker, Lock};

/// The number of events that a stream holds. A database with a hundred links that all lose their connection needs two
/// for each.
const CAPACITY: usize = 256;

/// Something that happened in a database.
///
/// [`AimDb::events`](crate::AimDb::events) streams them, and
/// [`AimDbBuilder::on_event`](crate::AimDbBuilder::on_event) passes each one to a function. It prints as one line.
///
/// ```
/// use aimdb_core::events::DbEvent;
///
/// /// A line that begins with the milliseconds since 1970, or since the start without a calendar.
/// fn line(event: &DbEvent) -> String {
///     let nanos = event.unix_at.map_or(event.at.as_nanos(), |time| time.as_nanos());
///     format!("{} {event}", nanos / 1_000_000)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DbEvent {
    /// When it happened, by the runtime's clock.
    pub at: Instant,
    /// When it happened, by the calendar, where there is a clock for it.
    pub unix_at: Option<UnixTime>,
    /// What happened.
    pub kind: DbEventKind,
}

/// The kinds of [`DbEvent`]. Kinds may be added.
///
/// ```
/// use aimdb_core::LogLevel;
/// use aimdb_core::events::DbEventKind;
///
/// /// How urgent an event is for an operator.
/// fn level(kind: &DbEventKind) -> LogLevel {
///     match kind {
///         DbEventKind::StageFailed { .. } | DbEventKind::ShutdownEnded { clean: false } => {
///             LogLevel::Error
///         }
///         DbEventKind::LinkDown { .. } | DbEventKind::WriterBlocked { .. } => LogLevel::Warn,
///         _ => LogLevel::Info,
///     }
/// }
///
/// assert_eq!(level(&DbEventKind::ShutdownEnded { clean: false }), LogLevel::Error);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DbEventKind {
    /// A stage or a connector has failed for good.
    StageFailed {
        /// The stage.
        stage: StageId,
        /// The panic, the returned error, or the reason that the stage gave.
        cause: String,
    },
    /// An attempt of a stage has failed or returned, and the next one begins after `pause`.
    StageRestarts {
        /// The stage.
        stage: StageId,
        /// Why the attempt ended.
        cause: String,
        /// The number of restarts since the start or the last recovery, this one included.
        restart: u32,
        /// The time until the next attempt.
        pause: Duration,
    },
    /// A stage has returned.
    StageFinished {
        /// The stage.
        stage: StageId,
    },
    /// A connection serves a link.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Whether a connection has served the link before.
        again: bool,
    },
    /// The connection of a link has ended. [`LinkError`](Self::LinkError) follows if the connector knows the reason.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// A link could not connect, was refused, or lost a message.
    LinkError {
        /// The link.
        link: LinkId,
        /// The reason, as the connector reports it.
        reason: String,
        /// Whether a connection served the link at that time.
        connected: bool,
    },
    /// A payload did not decode. The [hook for dead letters](crate::AimDbBuilder::on_dead_letter) has the payload.
    DeadLetter {
        /// The link.
        link: LinkId,
        /// The topic of the message.
        topic: String,
        /// The codec's error.
        reason: String,
    },
    /// Writers of a queue have waited for room longer than
    /// [`blocked_after`](crate::AimDbBuilder::blocked_after).
    WriterBlocked {
        /// The record's key.
        record: String,
        /// The name of the slowest reader.
        held_back_by: String,
        /// How long they have waited.
        waiting: Duration,
    },
    /// No writer of the record waits any more.
    WriterFree {
        /// The record's key.
        record: String,
    },
    /// A shutdown has begun: sources and inbound links stop.
    ShutdownBegan,
    /// All records are closed, or the deadline has passed: what remains is aborted.
    ShutdownAborts {
        /// The stages that have not ended.
        stages: Vec<StageId>,
    },
    /// The report is written. No event follows.
    ShutdownEnded {
        /// Whether the report is [clean](crate::ShutdownReport::is_clean).
        clean: bool,
    },
}

/// The identifier of a link in an event.
///
/// ```
/// use aimdb_core::events::{DbEventKind, LinkId};
///
/// /// Keeps the list of links without a connection.
/// fn track(offline: &mut Vec<LinkId>, kind: &DbEventKind) {
///     match kind {
///         DbEventKind::LinkDown { link } => offline.push(link.clone()),
///         DbEventKind::LinkUp { link, .. } => offline.retain(|known| known != link),
///         _ => {}
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LinkId {
    /// The link's record and its name.
    pub stage: StageId,
    /// The address as it was declared.
    pub address: String,
    /// Whether the link reads from the peer or writes to it.
    pub direction: Direction,
}

impl LinkId {
    /// The key of the link's record.
    #[must_use]
    pub fn record(&self) -> &str {
        self.stage.owner.name()
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (record, address) = (self.stage.owner.name(), &self.address);
        match self.direction {
            Direction::Inbound => write!(f, "link from `{address}` to record `{record}`"),
            Direction::Outbound => write!(f, "link from record `{record}` to `{address}`"),
        }
    }
}

/// `in 100ms`, or `at once`.
pub(crate) struct After(pub(crate) Duration);

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() { f.write_str("at once") } else { write!(f, "in {:?}", self.0) }
    }
}

impl fmt::Display for DbEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Display for DbEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StageFailed { stage, cause } => write!(f, "stage `{stage}` failed: {cause}"),
            Self::StageRestarts { stage, cause, restart, pause } => {
                write!(f, "stage `{stage}`: {cause}; restart {restart} {}", After(*pause))
            }
            Self::StageFinished { stage } => write!(f, "stage `{stage}` finished"),
            Self::LinkUp { link, again: false } => write!(f, "{link} is connected"),
            Self::LinkUp { link, again: true } => write!(f, "{link} is connected again"),
            Self::LinkDown { link } => write!(f, "{link} has lost its connection"),
            Self::LinkError { link, reason, connected: false } => {
                write!(f, "{link} has no connection: {reason}")
            }
            Self::LinkError { link, reason, .. } => write!(f, "{link}: {reason}"),
            Self::DeadLetter { link, topic, reason } => {
                write!(f, "{link}: a payload on `{topic}` did not decode: {reason}")
            }
            Self::WriterBlocked { record, held_back_by, waiting } => write!(
                f,
                "record `{record}`: writers have waited {waiting:.0?} for room; `{held_back_by}` holds them back"
            ),
            Self::WriterFree { record } => write!(f, "record `{record}`: no writer waits any more"),
            Self::ShutdownBegan => f.write_str("a shutdown has begun"),
            Self::ShutdownAborts { stages } => {
                write!(f, "the shutdown aborts {} stages", stages.len())
            }
            Self::ShutdownEnded { clean: true } => f.write_str("the shutdown has ended"),
            Self::ShutdownEnded { clean: false } => {
                f.write_str("the shutdown has ended with losses, see its report")
            }
        }
    }
}

/// The function of [`AimDbBuilder::on_event`](crate::AimDbBuilder::on_event).
pub(crate) type EventHook = Box<dyn Fn(&DbEvent) + Send + Sync>;

/// The events of a database from the call of [`AimDb::events`](crate::AimDb::events) on.
///
/// The stream holds 256 events. If it is not read in time it loses the oldest ones, and [`lost`](Self::lost) counts
/// them; the database never waits for it.
///
/// ```
/// use aimdb_core::events::DbEventKind;
/// use aimdb_core::{AimDb, Runtime};
///
/// /// Prints what happens until the database has shut down.
/// async fn watch<R: Runtime>(db: AimDb<R>) {
///     let mut events = db.events();
///     drop(db);
///     while let Some(event) = events.next().await {
///         match &event.kind {
///             DbEventKind::LinkDown { link } => println!("offline: {}", link.address),
///             _ => println!("{event}"),
///         }
///     }
/// }
/// ```
pub struct DbEvents {
    queue: Arc<EventQueue>,
}

impl DbEvents {
    /// Waits for the next event. `None` after the last one, when the database has shut down or was dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<DbEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next) for a caller that polls.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<DbEvent>> {
        // Before the look at the queue: an event that is pushed afterwards finds the waker.
        self.queue.task.register(cx.waker());
        self.queue.state.with(|state| match state.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if state.ended => Poll::Ready(None),
            None => Poll::Pending,
        })
    }

    /// Returns the next event if there is one.
    pub fn try_next(&mut self) -> Option<DbEvent> {
        self.queue.state.with(|state| state.events.pop_front())
    }

    /// The number of events that this stream has lost because it was not read in time.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.state.with(|state| state.lost)
    }
}

impl fmt::Debug for DbEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbEvents").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

/// The events that a stream has not returned.
pub(crate) struct EventQueue {
    state: Lock<QueueState>,
    task: AtomicWaker,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<DbEvent>,
    lost: u64,
    ended: bool,
}

impl EventQueue {
    fn push(&self, event: &DbEvent) {
        let event = event.clone();
        // Dropped after the lock.
        let _oldest = self.state.with(|state| {
            let oldest =
                if state.events.len() == CAPACITY { state.events.pop_front() } else { None };
            state.lost += u64::from(oldest.is_some());
            state.events.push_back(event);
            oldest
        });
        self.task.wake();
    }

    fn end_stream(&self) {
        self.state.with(|state| state.ended = true);
        self.task.wake();
    }
}

/// The clock and the log of the runtime, without its type.
pub(crate) trait Surroundings: Send + Sync {
    fn now(&self) -> Instant;
    fn unix_now(&self) -> Option<UnixTime>;
    fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>);
}

impl<R: Runtime> Surroundings for Arc<R> {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn unix_now(&self) -> Option<UnixTime> {
        (**self).unix_now()
    }

    fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>) {
        log(&**self, level, origin, message);
    }
}

/// Passes events to the listeners of one database.
pub(crate) struct EventHub {
    surroundings: Option<Box<dyn Surroundings>>,
    /// Whether there are listeners: without any, an event is not made.
    has_listeners: AtomicBool,
    listeners: Lock<Audience>,
}

/// The listeners of a hub.
enum Audience {
    /// There is no hook, and no stream was asked for.
    Nobody,
    Listeners(Arc<dyn Listeners>),
    /// The database has shut down. Streams have ended.
    Ended,
}

/// The hook and the streams, behind a trait so that a program without them does not contain their code.
pub(crate) trait Listeners: Send + Sync {
    /// Adds a stream, unless the events have ended.
    fn add(&self, stream: &Arc<EventQueue>) -> bool;

    /// Adds an event, or the end of all events with `None`. Calls no user code.
    fn queue(&self, event: Option<DbEvent>);

    /// Passes the queued events on, in their order, unless another thread is doing so.
    fn dispatch(&self, surroundings: &dyn Surroundings);
}

/// The [`Listeners`] of a hub that has some.
struct HookAndStreams {
    hook: Option<EventHook>,
    state: Lock<DispatchState>,
}

#[derive(Default)]
struct DispatchState {
    streams: Vec<Arc<EventQueue>>,
    /// Events that no listener has seen yet; `None` is the end.
    queued: VecDeque<Option<DbEvent>>,
    /// A thread is passing events on: the hook runs in one thread at a time, and in order.
    dispatching: bool,
    /// The end is queued or past. Nothing is queued behind it.
    ended: bool,
}

/// The listeners of a database that has the hook `hook`.
pub(crate) fn hooked(hook: EventHook) -> Arc<dyn Listeners> {
    listeners(Some(hook))
}

fn listeners(hook: Option<EventHook>) -> Arc<dyn Listeners> {
    let listeners: Box<dyn Listeners> =
        Box::new(HookAndStreams { hook, state: Lock::new(DispatchState::default()) });
    listeners.into()
}

impl HookAndStreams {
    /// Takes the next event, with the streams that receive it. `None` if another thread does so, or there is none.
    fn next(&self, continued: bool) -> Option<(Option<DbEvent>, Vec<Arc<EventQueue>>)> {
        self.state.with(|state| {
            if state.dispatching && !continued {
                return None;
            }
            let event = state.queued.pop_front();
            state.dispatching = event.is_some();
            let event = event?;
            state.forget_dropped_streams();
            let streams = match event {
                Some(_) => state.streams.clone(),
                None => mem::take(&mut state.streams),
            };
            Some((event, streams))
        })
    }
}

impl DispatchState {
    fn forget_dropped_streams(&mut self) {
        // Only the hub has the others.
        self.streams.retain(|stream| Arc::strong_count(stream) > 1);
    }
}

impl Listeners for HookAndStreams {
    fn add(&self, stream: &Arc<EventQueue>) -> bool {
        self.state.with(|state| {
            state.forget_dropped_streams();
            if !state.ended {
                state.streams.push(Arc::clone(stream));
            }
            !state.ended
        })
    }

    fn queue(&self, event: Option<DbEvent>) {
        self.state.with(|state| {
            if !state.ended {
                state.ended = event.is_none();
                state.queued.push_back(event);
            }
        });
    }

    fn dispatch(&self, surroundings: &dyn Surroundings) {
        let mut continued = false;
        while let Some((event, streams)) = self.next(continued) {
            continued = true;
            let Some(event) = event else {
                streams.iter().for_each(|stream| stream.end_stream());
                continue;
            };
            if let Some(hook) = &self.hook
                && let Err(panic) = catch(|| hook(&event))
            {
                let message = format_args!("the hook for events {panic}");
                surroundings.log(LogLevel::Error, "aimdb", message);
            }
            streams.iter().for_each(|stream| stream.push(&event));
        }
    }
}

impl EventHub {
    /// A hub with the listeners that the builder has, if there are any.
    pub(crate) fn new(
        surroundings: Option<Box<dyn Surroundings>>,
        listeners: Option<Arc<dyn Listeners>>,
    ) -> Self {
        let has_listeners = AtomicBool::new(listeners.is_some());
        let audience = listeners.map_or(Audience::Nobody, Audience::Listeners);
        Self { surroundings, has_listeners, listeners: Lock::new(audience) }
    }

    /// The time of the runtime's clock.
    pub(crate) fn now(&self) -> Instant {
        self.surroundings.as_ref().map_or_else(Instant::default, |surroundings| surroundings.now())
    }

    /// Makes a stream of the events from now on.
    pub(crate) fn subscribe(&self) -> DbEvents {
        let state = Lock::new(QueueState::default());
        let queue = Arc::new(EventQueue { state, task: AtomicWaker::new() });
        let ended = self.listeners.with(|audience| {
            if let Audience::Nobody = audience {
                *audience = Audience::Listeners(listeners(None));
            }
            match audience {
                Audience::Listeners(listeners) => !listeners.add(&queue),
                _ => true,
            }
        });
        if ended {
            queue.end_stream();
        }
        // Pairs with the `Acquire` load in `emit`.
        self.has_listeners.store(true, Release);
        DbEvents { queue }
    }

    /// Passes an event to every listener. The caller holds no lock, because the hook is user code.
    pub(crate) fn emit(&self, kind: impl FnOnce() -> DbEventKind) {
        // Pairs with the `Release` store in `subscribe`.
        if self.has_listeners.load(Acquire) {
            self.queue_kind(kind());
            self.dispatch();
        }
    }

    /// Queues an event for [`dispatch`](Self::dispatch). It calls no user code, so the caller may hold a lock: the event then
    /// precedes everything that the lock's next holder emits.
    pub(crate) fn queue(&self, kind: impl FnOnce() -> DbEventKind) {
        if self.has_listeners.load(Acquire) {
            self.queue_kind(kind());
        }
    }

    #[cold]
    fn queue_kind(&self, kind: DbEventKind) {
        let (Some(surroundings), Some(listeners)) = (&self.surroundings, self.listeners()) else {
            return;
        };
        let (at, unix_at) = (surroundings.now(), surroundings.unix_now());
        listeners.queue(Some(DbEvent { at, unix_at, kind }));
    }

    /// Queues the end of all events. Events that are emitted later reach nobody.
    pub(crate) fn queue_end(&self) {
        let ended = self.listeners.with(|audience| {
            let listeners = match audience {
                Audience::Listeners(listeners) => Some(Arc::clone(listeners)),
                _ => None,
            };
            if let Audience::Nobody = audience {
                *audience = Audience::Ended;
            }
            listeners
        });
        if let Some(listeners) = ended {
            listeners.queue(None);
        }
    }

    /// Passes the queued events to the listeners.
    pub(crate) fn dispatch(&self) {
        if let (Some(surroundings), Some(listeners)) = (&self.surroundings, self.listeners()) {
            listeners.dispatch(&**surroundings);
        }
    }

    fn listeners(&self) -> Option<Arc<dyn Listeners>> {
        self.listeners.with(|audience| match audience {
            Audience::Listeners(listeners) => Some(Arc::clone(listeners)),
            _ => None,
        })
    }
}

/// The database was dropped without a shutdown.
impl Drop for EventHub {
    fn drop(&mut self) {
        self.queue_end();
        self.dispatch();
    }
}
