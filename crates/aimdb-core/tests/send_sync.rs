//! The auto traits of public handles and futures. Each line is a promise.
#![cfg(not(aimdb_loom))]
#![allow(dead_code, reason = "the tables are checked at compile time")]

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, Pending};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use aimdb_core::buffer::{SharedSubscription, Subscription, WaitTicket};
use aimdb_core::graph::{
    BufferNode, ConnectorNode, LinkNode, Location, Locations, NameNode, Plan, PortNode, RecordNode,
    Severity, StageKind, StageNode, StageRole, TypeNode,
};
use aimdb_core::handle::{NextEvent, Produce, ProduceMany, ProduceWith, Recv, RecvMany, RecvWith};
use aimdb_core::health::{BlockedRecord, DbState, Health, LinkHealth, StageHealth, StageState};
use aimdb_core::link::{
    DecodeFn, EncodeFn, InboundLink, LinkRequest, LinkStatus, Links, OutboundLink, Outgoing,
    TopicFn,
};
use aimdb_core::metrics::{BlockedWriter, LinkMetrics, Metrics, ReaderMetrics, RecordMetrics};
use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::{
    Combined, Filtered, Inputs, JoinInputs, JoinStage, MapStage, Mapped, OneHandle, Restarting,
    Scanned, Stage,
};
use aimdb_core::{
    Address, AimDb, AimDbBuilder, AnyReader, AnyRecord, BufferCfg, Closed, CodecError, Consumer,
    DbError, DeadLetter, Elapsed, Event, Finding, Findings, Graph, Incoming, Input, Instant,
    Interval, Json, Log, LogLevel, NoRuntime, ProduceError, ProduceManyError, Producer, Reader,
    Registrar, Restart, Rule, Runtime, RuntimeContext, ShutdownReport, StageFailure,
    SubscribeError, Time, Timeout, TryProduceError, TryRecvError, Undelivered,
};
use aimdb_testing::auto_traits;

type Pinned = std::marker::PhantomPinned;

/// A runtime whose sleep is `Send + Sync` and not `Unpin`. No test runs on it.
struct AnyRuntime;

struct AnySleep(Pinned);

impl Future for AnySleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Runtime for AnyRuntime {
    type Sleep = AnySleep;

    fn now(&self) -> Instant {
        Instant::from_nanos(0)
    }

    fn sleep_until(&self, _: Instant) -> AnySleep {
        AnySleep(Pinned {})
    }

    fn log(&self, _: LogLevel, _: &str, _: std::fmt::Arguments<'_>) {}
}

/// A value that is `Clone + Send + Sync` and not `Unpin`.
#[derive(Clone)]
struct Value(Pinned);

type Readers = <(Input<Value>, Input<Value>) as JoinInputs>::Readers;
type Fun = fn(Value) -> Value;
type Attempts<Fut> = fn(RuntimeContext<AnyRuntime>, Producer<Value, AnyRuntime>) -> Fut;
type SendAttempts = Attempts<Pending<()>>;
type NotSendAttempts = Attempts<Pin<Box<dyn Future<Output = ()>>>>;
/// A value that a stage may hold on a single-threaded runtime.
type NotSend = Rc<u8>;

// Handles.
auto_traits! {
    AimDb<AnyRuntime>: has Send, has Sync, has Unpin;
    Producer<Value, AnyRuntime>: has Send, has Sync, has Unpin;
    Consumer<Value, AnyRuntime>: has Send, has Sync, has Unpin;
    Reader<Value>: has Send, has Sync, has Unpin;
    Subscription<Value>: has Send, has Sync, has Unpin;
    AnyRecord: has Send, has Sync, has Unpin;
    AnyReader: has Send, has Sync, has Unpin;
    SharedSubscription<Value>: has Send, has Sync, has Unpin;
    WaitTicket: has Send, has Sync, has Unpin;
    RuntimeContext<AnyRuntime>: has Send, has Sync, has Unpin;
    Time<AnyRuntime>: has Send, has Sync, has Unpin;
    Log<AnyRuntime>: has Send, has Sync, has Unpin;
    Interval<AnyRuntime>: has Send, has Sync, has Unpin;
    Links: has Send, lacks Sync, has Unpin;
    OutboundLink: has Send, lacks Sync, has Unpin;
    InboundLink: has Send, lacks Sync, has Unpin;
    LinkStatus: has Send, has Sync, has Unpin;

    // They hold stages, which need not be `Send` on a single-threaded runtime.
    AimDbBuilder<AnyRuntime>: lacks Send, lacks Sync, has Unpin;
    AimDbBuilder<NoRuntime>: lacks Send, lacks Sync, has Unpin;
    Registrar<'static, Value, AnyRuntime>: lacks Send, lacks Sync, has Unpin;
    Inputs<'static>: lacks Send, lacks Sync, has Unpin;
}

// Named futures.
auto_traits! {
    Produce<'static, Value>: has Send, has Sync, has Unpin;
    ProduceMany<'static, Value, std::array::IntoIter<Value, 1>>: has Send, has Sync, has Unpin;
    ProduceWith<'static, Value, fn() -> Value>: has Send, has Sync, has Unpin;
    ProduceWith<'static, Value, NotSend>: lacks Send, lacks Sync, has Unpin;
    Recv<'static, Value>: has Send, has Sync, has Unpin;
    RecvWith<'static, Value, fn(&Value) -> u8>: has Send, has Sync, has Unpin;
    RecvWith<'static, Value, NotSend>: lacks Send, lacks Sync, has Unpin;
    NextEvent<'static, Value>: has Send, has Sync, has Unpin;
    RecvMany<'static, Value>: has Send, has Sync, has Unpin;
    Timeout<Recv<'static, Value>, AnySleep>: has Send, has Sync, lacks Unpin;

    // A stage has the auto traits of its future.
    Stage<AnyRuntime, Pending<()>>: has Send, has Sync, has Unpin;
    Stage<AnyRuntime, Pinned>: has Send, has Sync, lacks Unpin;
    Stage<AnyRuntime, NotSend>: lacks Send, lacks Sync, has Unpin;
    Restarting<AnyRuntime, OneHandle<SendAttempts, Producer<Value, AnyRuntime>>>: has Send, has Sync, lacks Unpin;
    Restarting<AnyRuntime, OneHandle<NotSendAttempts, Producer<Value, AnyRuntime>>>: lacks Send, lacks Sync, lacks Unpin;
    MapStage<Value, Value, Mapped<Fun>>: has Send, has Sync, has Unpin;
    MapStage<Value, Value, Filtered<Fun>>: has Send, has Sync, has Unpin;
    MapStage<Value, Value, Scanned<u8, Fun>>: has Send, has Sync, has Unpin;
    MapStage<Value, Value, Mapped<NotSend>>: lacks Send, lacks Sync, has Unpin;
    JoinStage<Readers, Value, Combined<Fun>>: has Send, has Sync, has Unpin;
    JoinStage<Readers, Value, Combined<NotSend>>: lacks Send, lacks Sync, has Unpin;
}

// Data.
auto_traits! {
    BufferCfg: has Send, has Sync, has Unpin;
    Input<Rc<Cell<u8>>>: has Send, has Sync, has Unpin;
    Restart: has Send, has Sync, has Unpin;
    Instant: has Send, has Sync, has Unpin;
    LogLevel: has Send, has Sync, has Unpin;
    Event<Rc<u8>>: lacks Send, lacks Sync, has Unpin;
    Event<u8>: has Send, has Sync, has Unpin;
    Mapped<Fun>: has Send, has Sync, has Unpin;
    Filtered<Fun>: has Send, has Sync, has Unpin;
    Scanned<u8, Fun>: has Send, has Sync, has Unpin;

    Graph: has Send, has Sync, has Unpin;
    Plan: has Send, has Sync, has Unpin;
    RecordNode: has Send, has Sync, has Unpin;
    TypeNode: has Send, has Sync, has Unpin;
    StageNode: has Send, has Sync, has Unpin;
    StageKind: has Send, has Sync, has Unpin;
    StageRole: has Send, has Sync, has Unpin;
    PortNode: has Send, has Sync, has Unpin;
    BufferNode: has Send, has Sync, has Unpin;
    NameNode: has Send, has Sync, has Unpin;
    Location: has Send, has Sync, has Unpin;
    Locations: has Send, has Sync, has Unpin;
    LinkNode: has Send, has Sync, has Unpin;
    ConnectorNode: has Send, has Sync, has Unpin;
    Finding: has Send, has Sync, has Unpin;
    Findings: has Send, has Sync, has Unpin;
    Rule: has Send, has Sync, has Unpin;
    Severity: has Send, has Sync, has Unpin;

    Health: has Send, has Sync, has Unpin;
    DbState: has Send, has Sync, has Unpin;
    StageHealth: has Send, has Sync, has Unpin;
    StageState: has Send, has Sync, has Unpin;
    BlockedRecord: has Send, has Sync, has Unpin;
    LinkHealth: has Send, has Sync, has Unpin;
    Metrics: has Send, has Sync, has Unpin;
    RecordMetrics: has Send, has Sync, has Unpin;
    ReaderMetrics: has Send, has Sync, has Unpin;
    BlockedWriter: has Send, has Sync, has Unpin;
    LinkMetrics: has Send, has Sync, has Unpin;
    ShutdownReport: has Send, has Sync, has Unpin;
    Undelivered: has Send, has Sync, has Unpin;

    DbError: has Send, has Sync, has Unpin;
    StageFailure: has Send, has Sync, has Unpin;
    SubscribeError: has Send, has Sync, has Unpin;
    SpawnError: has Send, has Sync, has Unpin;
    ProduceError<u8>: has Send, has Sync, has Unpin;
    ProduceError<Cell<u8>>: has Send, lacks Sync, has Unpin;
    ProduceManyError: has Send, has Sync, has Unpin;
    TryProduceError<u8>: has Send, has Sync, has Unpin;
    TryRecvError: has Send, has Sync, has Unpin;
    Closed: has Send, has Sync, has Unpin;
    Elapsed: has Send, has Sync, has Unpin;
    CodecError: has Send, has Sync, has Unpin;

    Address: has Send, has Sync, has Unpin;
    LinkRequest<'static>: has Send, has Sync, has Unpin;
    Incoming<'static>: has Send, has Sync, has Unpin;
    Outgoing: has Send, has Sync, has Unpin;
    DeadLetter<'static>: has Send, has Sync, has Unpin;
    TopicFn<Value>: has Send, has Sync, has Unpin;
    Json: has Send, has Sync, has Unpin;
    EncodeFn<Fun, Infallible>: has Send, has Sync, has Unpin;
    DecodeFn<Fun, Infallible>: has Send, has Sync, has Unpin;
}

/// The futures of async functions, which have no name. None of them needs to be `Unpin`.
fn futures(
    db: &AimDb<AnyRuntime>,
    builder: AimDbBuilder<AnyRuntime>,
    interval: &mut Interval<AnyRuntime>,
    context: &RuntimeContext<AnyRuntime>,
    (outbound, inbound): (&mut OutboundLink, &mut InboundLink),
    message: Incoming<'static>,
) {
    let (time, mut payload) = (context.time(), Vec::new());
    auto_traits! {
        db.run() => has Send, has Sync, lacks Unpin;
        db.run_until(std::future::pending()) => has Send, has Sync, lacks Unpin;
        db.shutdown(Duration::ZERO) => has Send, has Sync, lacks Unpin;
        db.shutdown_requested() => has Send, has Sync, lacks Unpin;
        // It holds the builder.
        builder.run() => lacks Send, lacks Sync, lacks Unpin;
        interval.tick() => has Send, has Sync, lacks Unpin;
        context.stopping() => has Send, has Sync, lacks Unpin;
        time.sleep(Duration::ZERO) => has Send, has Sync, lacks Unpin;
        time.timeout(Duration::ZERO, std::future::pending::<()>()) => has Send, has Sync, lacks Unpin;
        outbound.next(&mut payload) => has Send, lacks Sync, lacks Unpin;
        outbound.drained() => has Send, lacks Sync, lacks Unpin;
        inbound.deliver(message) => has Send, lacks Sync, lacks Unpin;
    }
}
