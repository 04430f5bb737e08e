//! Reading a record: where readers come from.

use core::fmt;
use core::marker::PhantomData;

use super::observer::Observer;
use super::reader::{InitialReader, Reader};
use crate::buffer::Subscription;
use crate::buffer::start::Start;
use crate::error::SubscribeError;
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;

/// Reads a record: [`subscribe`](Self::subscribe) for a stream of values, [`latest`](Self::latest) for a snapshot.
///
/// Cheap to clone; all clones of a stage's consumer share the one reader that was subscribed before the graph started.
///
/// ```
/// use aimdb_core::{Consumer, Runtime, RuntimeContext};
///
/// async fn display<R: Runtime>(ctx: RuntimeContext<R>, celsius: Consumer<f32, R>) {
///     let Ok(mut reader) = celsius.subscribe() else { return };
///     while let Ok(value) = reader.recv().await {
///         ctx.log().info(format_args!("{value:.1} °C"));
///     }
/// }
/// ```
pub struct Consumer<T: Record, R> {
    record: Arc<RecordCell<T>>,
    initial: Arc<InitialReader<T>>,
    /// The name of the readers that this handle subscribes, if it was set.
    name: Option<Arc<str>>,
    runtime: PhantomData<fn() -> R>,
}

impl<T: Record, R> Consumer<T, R> {
    /// A consumer from outside the graph. It has no reader until it subscribes.
    pub(crate) fn outside(record: Arc<RecordCell<T>>) -> Self {
        Self {
            record,
            initial: Arc::new(InitialReader::none("outside".into())),
            name: None,
            runtime: PhantomData,
        }
    }

    /// A stage's consumer, subscribed before anything runs. With `restarts`, the reader keeps its position between the
    /// attempts of the stage.
    pub(crate) fn of_stage(record: Arc<RecordCell<T>>, name: Arc<str>, restarts: bool) -> Self {
        let subscription = Subscription::of_stage(&record.buffer, Arc::clone(&name));
        let initial = Arc::new(InitialReader::of_stage(name, subscription, restarts));
        Self { record, initial, name: None, runtime: PhantomData }
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.record.key
    }

    /// Names the readers that this handle and its clones subscribe from now on: metrics and health show them under `name`
    /// instead of `outside`. In a stage it has no effect: its readers have the stage's name, by which a shutdown reports
    /// what they left.
    ///
    /// ```
    /// use aimdb_core::{AimDb, Reader, Runtime};
    ///
    /// fn page<R: Runtime>(db: &AimDb<R>) -> Option<Reader<f32>> {
    ///     db.consumer::<f32>("temp").ok()?.named("page").subscribe().ok()
    /// }
    /// ```
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Returns a reader.
    ///
    /// In a stage the first call returns the reader that was subscribed before the graph started, which misses nothing.
    /// Later calls subscribe new ones, which receive the values produced afterwards (or, on a latest record, the current
    /// value at once). In a stage with a restart policy, each attempt receives the first reader again, at the position
    /// where the attempt before dropped it.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the record is closed, or is a mailbox that has a taker and was not declared
    /// [`shared`](crate::Registrar::shared).
    pub fn subscribe(&self) -> Result<Reader<T>, SubscribeError> {
        match self.initial.take() {
            Some(subscription) => Ok(Reader::initial(subscription, &self.initial)),
            None => self.subscription().map(Reader::new),
        }
    }

    /// Returns a new reader that begins at `start`, for instance at the oldest value that a ring still holds.
    ///
    /// In a stage it does not return the reader that was subscribed before the graph started: that one begins with the
    /// record's first value, and is [`subscribe`](Self::subscribe)'s.
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscribe_from(&self, start: Start) -> Result<Reader<T>, SubscribeError> {
        self.subscription_from(start).map(Reader::new)
    }

    /// Subscribes without the futures of a [`Reader`]: the layer for an API of one's own (blocking, FFI).
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscription(&self) -> Result<Subscription<T>, SubscribeError> {
        self.subscription_at(None)
    }

    /// [`subscription`](Self::subscription), beginning at `start`.
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscription_from(&self, start: Start) -> Result<Subscription<T>, SubscribeError> {
        self.subscription_at(Some(start))
    }

    fn subscription_at(&self, start: Option<Start>) -> Result<Subscription<T>, SubscribeError> {
        let set = if self.initial.is_of_stage() { None } else { self.name.clone() };
        let name = set.unwrap_or_else(|| self.initial.name());
        self.record.subscribe(name, self.initial.is_of_stage(), start)
    }

    /// Returns an observer: it sees the values that are produced from now on, and is no reader. The metrics show
    /// it under `name`, apart from the readers.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Closed`] if the record is closed, and [`SubscribeError::NoMemory`] if there is no memory for the
    /// values that observers may be behind.
    pub fn observe(&self, name: &str) -> Result<Observer<T>, SubscribeError> {
        Observer::new(&self.record, name.into())
    }

    /// The newest value the buffer holds, without consuming it. `None` if there was none yet, and on a queue or a
    /// mailbox also when everything has been taken.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.record.buffer.latest()
    }
}

impl<T: Record, R> Clone for Consumer<T, R> {
    fn clone(&self) -> Self {
        Self {
            record: Arc::clone(&self.record),
            initial: Arc::clone(&self.initial),
            name: self.name.clone(),
            runtime: PhantomData,
        }
    }
}

impl<T: Record, R> fmt::Debug for Consumer<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Consumer").field(&self.key()).finish()
    }
}
