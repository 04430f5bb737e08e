//! The contestants behind small traits, so that a case is written once for all of them.
//!
//! Each calling convention has a pair: [`TryWrite`] and [`TryRead`] never wait, and most contestants implement them;
//! [`Write`] and [`Read`] wait as tasks, [`Set`] and [`Get`] as threads. The last four have methods for batches: a
//! contestant with batches overrides them, and the default is a loop over single values.

#[macro_use]
mod traits;
mod aimdb;
mod disruptor;
mod embassy;
mod limit;
mod queues;
mod smol;
mod tokio;

pub use aimdb::{Record, SyncRecord, record, record_on, sync_record};
pub use disruptor::{DisruptorProducer, DisruptorReader, disruptor};
pub use embassy::{
    PubSubPublisher, PubSubSubscriber, WatchReceiver, WatchSender, pubsub, watch as embassy_watch,
};
pub use limit::{HandoffReceiver, HandoffSender, LineReader, LineWriter, handoff, lines};
pub use queues::{crossbeam, flume, kanal, kanal_async, sync_channel, thingbuf};
pub use smol::{
    AsyncBroadcastReceiver, AsyncBroadcastSender, async_broadcast, async_broadcast_overflowing,
    async_channel,
};
pub use tokio::{
    BroadcastReceiver, Cooperative, NotifySlot, broadcast, mpsc, mpsc_reserving, notify_slot, watch,
};
pub use traits::{
    Get, Read, Set, TryRead, TryWrite, Write, drain, drain_many, get_all, get_all_many,
};
