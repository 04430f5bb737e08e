//! Which public handles and futures may cross threads. A line here is a promise.

#![allow(dead_code)]

use std::cell::Cell;
use std::rc::Rc;

use aimdb_core::buffer::{Subscription, WaitTicket};
use aimdb_core::handle::{NextEvent, Produce, Recv, RecvMany};
use aimdb_core::health::Health;
use aimdb_core::link::{InboundLink, LinkStatus, Links, OutboundLink};
use aimdb_core::metrics::Metrics;
use aimdb_core::{
    Address, AimDb, AimDbBuilder, Closed, Consumer, DbError, Elapsed, Event, Findings, Graph,
    Input, Instant, Interval, Log, ProduceError, Producer, Reader, Restart, RuntimeContext,
    ShutdownReport, SubscribeError, Time, Timeout, TryProduceError, TryRecvError,
};
use aimdb_tokio_adapter::TokioAdapter as Tokio;

fn is_send<T: Send>(_: T) {}
fn is_sync<T: Sync>(_: T) {}
fn is_unpin<T: Unpin>(_: T) {}

/// Fails to infer `_` if both impls apply, that is, if `T` has the trait.
macro_rules! lacks {
    ($ty:ty, $bound:ident) => {{
        struct Has;
        trait Ambiguous<M> {
            fn probe() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $bound> Ambiguous<Has> for T {}
        let _ = <$ty as Ambiguous<_>>::probe;
    }};
}

macro_rules! has {
    ($ty:ty, $bound:ident) => {{
        fn check<T: ?Sized + $bound>() {}
        check::<$ty>();
    }};
}

macro_rules! table {
    ($($ty:ty: $send:ident Send, $sync:ident Sync, $unpin:ident Unpin;)*) => {
        const _: fn() = || {
            $($send!($ty, Send); $sync!($ty, Sync); $unpin!($ty, Unpin);)*
        };
    };
}

type Pinned = std::marker::PhantomPinned;

/// A value that is `Clone + Send + Sync` and not `Unpin`.
#[derive(Clone)]
struct Value(Pinned);

table! {
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

    Produce<'static, Value>: has Send, has Sync, has Unpin;
    Recv<'static, Value>: has Send, has Sync, has Unpin;
    NextEvent<'static, Value>: has Send, has Sync, has Unpin;
    RecvMany<'static, Value>: has Send, has Sync, has Unpin;
    Timeout<Recv<'static, Value>, tokio::time::Sleep>: has Send, has Sync, lacks Unpin;

    Input<Rc<Cell<u8>>>: has Send, has Sync, has Unpin;
    Restart: has Send, has Sync, has Unpin;
    Instant: has Send, has Sync, has Unpin;
    Event<Rc<u8>>: lacks Send, lacks Sync, has Unpin;
    Event<u8>: has Send, has Sync, has Unpin;

    Graph: has Send, has Sync, has Unpin;
    Findings: has Send, has Sync, has Unpin;
    Health: has Send, has Sync, has Unpin;
    Metrics: has Send, has Sync, has Unpin;
    ShutdownReport: has Send, has Sync, has Unpin;
    DbError: has Send, has Sync, has Unpin;
    SubscribeError: has Send, has Sync, has Unpin;
    ProduceError<u8>: has Send, has Sync, has Unpin;
    ProduceError<Cell<u8>>: has Send, lacks Sync, has Unpin;
    TryProduceError<u8>: has Send, has Sync, has Unpin;
    TryRecvError: has Send, has Sync, has Unpin;
    Closed: has Send, has Sync, has Unpin;
    Elapsed: has Send, has Sync, has Unpin;

    Address: has Send, has Sync, has Unpin;
    Links: has Send, lacks Sync, has Unpin;
    OutboundLink: has Send, lacks Sync, has Unpin;
    InboundLink: has Send, lacks Sync, has Unpin;
    LinkStatus: has Send, has Sync, has Unpin;

    // It holds stages that a single-threaded runtime may keep to itself.
    AimDbBuilder<Tokio>: lacks Send, lacks Sync, has Unpin;
}

/// The futures of async functions, which cannot be named. None needs to be `Unpin`.
fn futures(
    db: &AimDb<Tokio>,
    producer: &Producer<Value, Tokio>,
    interval: &mut Interval<Tokio>,
    context: &RuntimeContext<Tokio>,
    (outbound, inbound): (&mut OutboundLink, &mut InboundLink),
    message: aimdb_core::Incoming<'static>,
) {
    is_send(db.run());
    is_send(db.run_until(std::future::pending()));
    is_send(db.shutdown(std::time::Duration::ZERO));
    is_send(db.shutdown_requested());
    is_send(producer.produce_many([Value(Pinned {})]));
    is_send(interval.tick());
    is_send(context.stopping());
    is_send(outbound.next(&mut Vec::new()));
    is_send(inbound.deliver(message));
    is_sync(db.shutdown_requested());
    is_sync(context.stopping());
    is_unpin(producer.produce(Value(Pinned {})));
}
