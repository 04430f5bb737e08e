//! Which public handles and futures may cross threads. A line here is a promise.

#![allow(dead_code)]

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Pending;
use std::rc::Rc;
use std::time::Duration;

use aimdb_core::buffer::{Subscription, WaitTicket};
use aimdb_core::graph::{
    ConnectorNode, InputNode, LinkNode, Plan, RecordNode, Severity, StageKind, StageNode,
    StageRole, TypeNode,
};
use aimdb_core::handle::{NextEvent, Produce, ProduceMany, Recv, RecvMany};
use aimdb_core::health::{BlockedRecord, DbState, Health, LinkHealth, StageHealth, StageState};
use aimdb_core::link::{
    DecodeFn, EncodeFn, InboundLink, LinkRequest, LinkStatus, Links, OutboundLink, Outgoing,
    TopicFn,
};
use aimdb_core::metrics::{BlockedWriter, LinkMetrics, Metrics, ReaderMetrics, RecordMetrics};
use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::{
    Filtered, Inputs, JoinInputs, JoinStage, MapStage, Mapped, Restarting, Scanned, Stage,
};
use aimdb_core::{
    Address, AimDb, AimDbBuilder, BufferCfg, Closed, CodecError, Consumer, DbError, DeadLetter,
    Elapsed, Event, Finding, Findings, Graph, Incoming, Input, Instant, Interval, Json, Log,
    LogLevel, NoRuntime, ProduceError, ProduceManyError, Producer, Reader, Registrar, Restart,
    Rule, RuntimeContext, ShutdownReport, StageFailure, SubscribeError, Time, Timeout,
    TryProduceError, TryRecvError, Undelivered,
};
use aimdb_testing::auto_traits;
use aimdb_tokio_adapter::TokioAdapter as Tokio;

type Pinned = std::marker::PhantomPinned;

/// A value that is `Clone + Send + Sync` and not `Unpin`.
#[derive(Clone)]
struct Value(Pinned);

type Readers = <(Input<Value>, Input<Value>) as JoinInputs>::Readers;
type Fun = fn(Value) -> Value;
/// What a stage may keep to itself on a single-threaded runtime.
type Kept = Rc<u8>;

// Handles.
auto_traits! {
    AimDb<Tokio>: has Send, has Sync, has Unpin;
    Producer<Value, Tokio>: has Send, has Sync, has Unpin;
    Consumer<Value, Tokio>: has Send, has Sync, has Unpin;
    Reader<Value>: has Send, has Sync, has Unpin;
    Subscription<Value>: has Send, has Sync, has Unpin;
    WaitTicket: has Send, has Sync, has Unpin;
    RuntimeContext<Tokio>: has Send, has Sync, has Unpin;
    Time<Tokio>: has Send, has Sync, has Unpin;
    Log<Tokio>: has Send, has Sync, has Unpin;
    Interval<Tokio>: has Send, has Sync, has Unpin;
    Tokio: has Send, has Sync, has Unpin;
    Links: has Send, lacks Sync, has Unpin;
    OutboundLink: has Send, lacks Sync, has Unpin;
    InboundLink: has Send, lacks Sync, has Unpin;
    LinkStatus: has Send, has Sync, has Unpin;

    // They hold stages that a single-threaded runtime may keep to itself.
    AimDbBuilder<Tokio>: lacks Send, lacks Sync, has Unpin;
    AimDbBuilder<NoRuntime>: lacks Send, lacks Sync, has Unpin;
    Registrar<'static, Value, Tokio>: lacks Send, lacks Sync, has Unpin;
    Inputs<'static>: lacks Send, lacks Sync, has Unpin;
}

// Futures that have a name.
auto_traits! {
    Produce<'static, Value>: has Send, has Sync, has Unpin;
    ProduceMany<'static, Value, std::array::IntoIter<Value, 1>>: has Send, has Sync, has Unpin;
    Recv<'static, Value>: has Send, has Sync, has Unpin;
    NextEvent<'static, Value>: has Send, has Sync, has Unpin;
    RecvMany<'static, Value>: has Send, has Sync, has Unpin;
    Timeout<Recv<'static, Value>, tokio::time::Sleep>: has Send, has Sync, lacks Unpin;

    // A stage is what its future is.
    Stage<Tokio, Pending<()>>: has Send, has Sync, has Unpin;
    Stage<Tokio, Pinned>: has Send, has Sync, lacks Unpin;
    Stage<Tokio, Kept>: lacks Send, lacks Sync, has Unpin;
    Restarting<Tokio, Producer<Value, Tokio>, Fun, Pending<()>>: has Send, has Sync, lacks Unpin;
    Restarting<Tokio, Producer<Value, Tokio>, Fun, Kept>: lacks Send, lacks Sync, lacks Unpin;
    MapStage<Value, Value, Mapped<Fun>>: has Send, has Sync, has Unpin;
    MapStage<Value, Value, Filtered<Fun>>: has Send, has Sync, has Unpin;
    MapStage<Value, Value, Scanned<u8, Fun>>: has Send, has Sync, has Unpin;
    MapStage<Value, Value, Mapped<Kept>>: lacks Send, lacks Sync, has Unpin;
    JoinStage<Readers, Value, Fun>: has Send, has Sync, has Unpin;
    JoinStage<Readers, Value, Kept>: lacks Send, lacks Sync, has Unpin;
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
    InputNode: has Send, has Sync, has Unpin;
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

/// The futures of async functions, which cannot be named. None needs to be `Unpin`.
fn futures(
    db: &AimDb<Tokio>,
    builder: AimDbBuilder<Tokio>,
    interval: &mut Interval<Tokio>,
    context: &RuntimeContext<Tokio>,
    (outbound, inbound): (&mut OutboundLink, &mut InboundLink),
    message: Incoming<'static>,
) {
    let (time, mut payload) = (context.time(), Vec::new());
    auto_traits! {
        db.run() => has Send, has Sync, lacks Unpin;
        db.run_until(std::future::pending()) => has Send, has Sync, lacks Unpin;
        db.shutdown(Duration::ZERO) => has Send, has Sync, lacks Unpin;
        db.shutdown_requested() => has Send, has Sync, lacks Unpin;
        // It begins as the builder.
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
