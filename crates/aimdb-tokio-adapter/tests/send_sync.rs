//! The auto traits of the adapter, and of AimDB's handles on it. Each line is a promise.

use std::future::Pending;

use aimdb_core::handle::Recv;
use aimdb_core::stages::{OneHandle, Restarting, Stage};
use aimdb_core::{
    AimDb, AimDbBuilder, Consumer, Interval, Log, Producer, RuntimeContext, Time, Timeout,
};
use aimdb_testing::auto_traits;
use aimdb_tokio_adapter::TokioAdapter as Tokio;

type Fun = fn(RuntimeContext<Tokio>, Producer<u8, Tokio>) -> Pending<()>;

auto_traits! {
    Tokio: has Send, has Sync, has Unpin;
    AimDb<Tokio>: has Send, has Sync, has Unpin;
    AimDbBuilder<Tokio>: lacks Send, lacks Sync, has Unpin;
    Producer<u8, Tokio>: has Send, has Sync, has Unpin;
    Consumer<u8, Tokio>: has Send, has Sync, has Unpin;
    RuntimeContext<Tokio>: has Send, has Sync, has Unpin;
    Time<Tokio>: has Send, has Sync, has Unpin;
    Log<Tokio>: has Send, has Sync, has Unpin;
    Interval<Tokio>: has Send, has Sync, has Unpin;
    Timeout<Recv<'static, u8>, tokio::time::Sleep>: has Send, has Sync, lacks Unpin;
    Stage<Tokio, Pending<()>>: has Send, has Sync, has Unpin;
    Restarting<Tokio, OneHandle<Fun, Producer<u8, Tokio>>>: has Send, has Sync, lacks Unpin;
}
