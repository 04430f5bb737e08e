//! The bounds that the suites need of a runtime.

use alloc::boxed::Box;
use alloc::string::String;
use core::future::Future;
use core::pin::Pin;

use aimdb_core::stages::{
    Combined, Filtered, ForEach, JoinInputs, JoinStage, MapStage, Mapped, OneHandle, OuterCombined,
    Restarting, Resuming, Scanned, TwoHandles,
};
use aimdb_core::{Consumer, Input, Producer, Runtime, RuntimeContext, Spawn};

/// A stage's future, boxed: code that is generic over the runtime can name its type.
pub type BoxStage = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A stage's future that returns a result, boxed.
pub(crate) type BoxFallible = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// A tap with a restart policy: the function that starts one attempt.
pub type TapFn<R> = Box<dyn Fn(RuntimeContext<R>, Consumer<u64, R>) -> BoxStage + Send>;

/// A source with a restart policy: the function that starts one attempt.
pub type SourceFn<R> = Box<dyn Fn(RuntimeContext<R>, Producer<u64, R>) -> BoxStage + Send>;

pub(crate) type MapFn = fn(u64) -> u64;
pub(crate) type FilterFn = fn(u64) -> Option<u64>;
pub(crate) type ScanFn = fn(&mut u64, u64) -> Option<u64>;
pub(crate) type JoinFn = fn((u64, u64)) -> u64;
pub(crate) type OuterFn = fn((Option<u64>, Option<u64>), usize) -> Option<u64>;
pub(crate) type Pair = (Input<u64>, Input<u64>);

/// The closure of a `for_each` with a restart policy.
pub(crate) type EachFn<R> = Box<dyn FnMut(&RuntimeContext<R>, u64) -> Result<(), String> + Send>;

/// A processor with a restart policy: the function that starts one attempt.
pub(crate) type ProcessorFn<R> =
    Box<dyn Fn(RuntimeContext<R>, Consumer<u64, R>, Producer<u64, R>) -> BoxFallible + Send>;

/// A runtime on which the [`engine`](crate::engine) and [`runtime`](crate::runtime) suites run.
///
/// It spawns each kind of stage in the suites. A runtime whose [`Spawn`] accepts every future, or every `Send` one,
/// implements this trait through a blanket impl.
pub trait Host: Runtime<Sleep: Send>
    + Spawn<BoxStage>
    + Spawn<BoxFallible>
    + Spawn<Restarting<Self, OneHandle<SourceFn<Self>, Producer<u64, Self>>>>
    + Spawn<Restarting<Self, OneHandle<TapFn<Self>, Consumer<u64, Self>>>>
    + Spawn<MapStage<u64, u64, Mapped<MapFn>>>
    + Spawn<MapStage<u64, u64, Filtered<FilterFn>>>
    + Spawn<MapStage<u64, u64, Scanned<u64, ScanFn>>>
    + Spawn<JoinStage<<Pair as JoinInputs>::Readers, u64, Combined<JoinFn>>>
    + Spawn<JoinStage<<Pair as JoinInputs>::Readers, u64, OuterCombined<OuterFn>>>
    + Spawn<Resuming<Self, ForEach<Self, u64, EachFn<Self>>>>
    + Spawn<Restarting<Self, TwoHandles<ProcessorFn<Self>, Consumer<u64, Self>, Producer<u64, Self>>>>
{
}

impl<R> Host for R where
    R: Runtime<Sleep: Send>
        + Spawn<BoxStage>
        + Spawn<BoxFallible>
        + Spawn<Restarting<R, OneHandle<SourceFn<R>, Producer<u64, R>>>>
        + Spawn<Restarting<R, OneHandle<TapFn<R>, Consumer<u64, R>>>>
        + Spawn<MapStage<u64, u64, Mapped<MapFn>>>
        + Spawn<MapStage<u64, u64, Filtered<FilterFn>>>
        + Spawn<MapStage<u64, u64, Scanned<u64, ScanFn>>>
        + Spawn<JoinStage<<Pair as JoinInputs>::Readers, u64, Combined<JoinFn>>>
        + Spawn<JoinStage<<Pair as JoinInputs>::Readers, u64, OuterCombined<OuterFn>>>
        + Spawn<Resuming<R, ForEach<R, u64, EachFn<R>>>>
        + Spawn<Restarting<R, TwoHandles<ProcessorFn<R>, Consumer<u64, R>, Producer<u64, R>>>>
{
}
