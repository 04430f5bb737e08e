//! Blocking handles of a database that an async program runs.

use aimdb_core::{AimDb, Record, RecordKey, Start};
use aimdb_tokio_adapter::TokioAdapter;

use crate::consumer::SyncConsumer;
use crate::error::OpenError;
use crate::producer::SyncProducer;
use crate::runtime::ExecutorThread;

/// Blocking handles of an [`AimDb`], for the threads of a program that runs the database itself.
///
/// They are those of a [`SyncHandle`](crate::SyncHandle) without a queue of their own. The database belongs to its caller:
/// dropping a handle ends nothing, and a shutdown closes the records as for every other handle. A wait on a thread that has
/// entered a Tokio runtime without workers could block what would end it, and returns the error `WouldDeadlock`: use a
/// `std::thread` there, because a thread of `spawn_blocking` has entered the runtime too.
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg};
/// use aimdb_sync::BlockingHandles;
/// use aimdb_tokio_adapter::TokioAdapter;
/// use std::time::Duration;
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
///     builder.configure::<u64>("squares", |reg| {
///         reg.buffer(BufferCfg::queue(4)).written_from_outside().read_from_outside();
///     });
///     let db = builder.build()?;
///     let squares = db.blocking_consumer::<u64>("squares")?;
///     let printer = std::thread::spawn(move || squares.iter().sum::<u64>());
///     for number in 1..=3 {
///         db.producer::<u64>("squares")?.produce(number * number).await?;
///     }
///     db.shutdown(Duration::from_secs(1)).await;
///     assert_eq!(printer.join().unwrap(), 14);
///     Ok(())
/// }
/// ```
pub trait BlockingHandles {
    /// Makes a producer whose `set` waits for room by blocking its thread.
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type.
    fn blocking_producer<T: Record>(
        &self,
        key: impl RecordKey,
    ) -> Result<SyncProducer<T>, OpenError>;

    /// Makes a consumer whose `get` waits for a value by blocking its thread. It sees the values written from now on.
    ///
    /// # Errors
    ///
    /// [`OpenError::Db`] if there is no such record or it holds another type; [`OpenError::Subscribe`] if it is a mailbox
    /// that has a taker and was not declared shared, or the database has been shut down.
    fn blocking_consumer<T: Record>(
        &self,
        key: impl RecordKey,
    ) -> Result<SyncConsumer<T>, OpenError>;

    /// Makes a [`blocking_consumer`](Self::blocking_consumer) that begins at `start`.
    ///
    /// # Errors
    ///
    /// As for [`blocking_consumer`](Self::blocking_consumer).
    fn blocking_consumer_from<T: Record>(
        &self,
        key: impl RecordKey,
        start: Start,
    ) -> Result<SyncConsumer<T>, OpenError>;
}

impl BlockingHandles for AimDb<TokioAdapter> {
    fn blocking_producer<T: Record>(
        &self,
        key: impl RecordKey,
    ) -> Result<SyncProducer<T>, OpenError> {
        Ok(SyncProducer::direct(self.producer(key)?, ExecutorThread::Foreign))
    }

    fn blocking_consumer<T: Record>(
        &self,
        key: impl RecordKey,
    ) -> Result<SyncConsumer<T>, OpenError> {
        Ok(SyncConsumer::direct(self.consumer(key)?.subscription()?, ExecutorThread::Foreign))
    }

    fn blocking_consumer_from<T: Record>(
        &self,
        key: impl RecordKey,
        start: Start,
    ) -> Result<SyncConsumer<T>, OpenError> {
        let subscription = self.consumer(key)?.subscription_from(start)?;
        Ok(SyncConsumer::direct(subscription, ExecutorThread::Foreign))
    }
}
