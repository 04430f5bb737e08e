//! The handle of a store, and its service.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aimdb_core::graph::RecordNode;
use aimdb_core::service::Service;
use aimdb_core::{
    BoxError, Decode, Finding, Graph, Incoming, Record, Rule, RuntimeContext, UnixTime, WeakAimDb,
};
use aimdb_tokio_adapter::TokioAdapter;

use crate::backend::Backend;
use crate::durability::Durability;
use crate::error::{Status, StoreError};
use crate::history::History;
use crate::memory::Memory;
use crate::names::{HISTORY, RESTORE};
use crate::sqlite::Sqlite;
use crate::writer::Writer;

/// How often the service looks whether the storage works.
const LOOK: Duration = Duration::from_millis(200);

/// A value that was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// When it was stored, by the calendar's clock.
    pub at: UnixTime,
}

/// Keeps values beyond the end of the process. A clone is another handle of the same store.
///
/// It is opened before the graph is declared, because a record is restored where it is configured, and added to the graph as a
/// service, which shows its state and writes the rest at the end of a shutdown. The drop of the last handle writes what is left and
/// closes the file. See the [crate](crate).
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Arc<Writer>,
    restored: Mutex<HashMap<String, Restored>>,
    /// Each with the stage that it is about.
    findings: Mutex<Vec<(&'static str, Finding)>>,
    is_service: AtomicBool,
    /// The records of the graph that were checked last which have both stages of this store.
    with_both: Mutex<HashSet<String>>,
}

impl Store {
    /// Opens a SQLite file, which outlives a [kill](Durability::Kill). It is made if it is missing.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`], [`StoreError::NotOurs`], [`StoreError::Newer`] and [`StoreError::Open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, Durability::Kill)
    }

    /// [`open`](Self::open), with a choice of what the file outlives.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, durability: Durability) -> Result<Self, StoreError> {
        Self::on(Sqlite::open(path.as_ref(), durability)?)
    }

    /// A store in memory, for tests: two graphs, one after the other, are two lives of a program.
    ///
    /// # Panics
    ///
    /// If the operating system starts no thread.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::on(Memory::default()).expect("a thread starts")
    }

    /// A store on a storage of one's own.
    ///
    /// # Errors
    ///
    /// [`StoreError::Storage`] if the operating system starts no thread.
    pub fn on(backend: impl Backend) -> Result<Self, StoreError> {
        let writer = Arc::new(Writer::start(Box::new(backend))?);
        let (restored, findings) = Default::default();
        let (is_service, with_both) = Default::default();
        let inner = Inner { writer, restored, findings, is_service, with_both };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the storage works.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.writer.status()
    }

    /// Waits until everything that was given to the store is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.inner.writer.flush().await
    }

    /// Whether a record began with a stored value, and of when it is. A stage that must tell it from a fresh one asks here: it
    /// is the record's first value.
    #[must_use]
    pub fn restored(&self, key: &str) -> Option<Restored> {
        self.inner.restored.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// The stored newest value of a record that is restored, and its time, after everything that was given before. A program that
    /// must know that a value is in the file asks here.
    ///
    /// Blocks the calling thread for a look at the storage.
    ///
    /// # Errors
    ///
    /// [`StoreError::Decode`], [`StoreError::Storage`] and [`StoreError::Ended`].
    pub fn newest<T: Record, C: Decode<T>>(
        &self,
        key: &str,
        mut codec: C,
    ) -> Result<Option<(T, UnixTime)>, StoreError> {
        let name = key.to_owned();
        let found = self.writer().ask(move |backend| {
            let Some((record, form)) = backend.find(&name)? else { return Ok(None) };
            Ok(backend.newest(record)?.map(|(at, value)| (form, at, value)))
        })?;
        let Some((stored, at, bytes)) = found else { return Ok(None) };
        let at = UnixTime::from_nanos(u64::try_from(at).unwrap_or(0));
        let value = codec.decode(&Incoming::new(key, &bytes)).map_err(|error| {
            StoreError::Decode { key: key.to_owned(), stored, reason: error.to_string() }
        })?;
        Ok(Some((value, at)))
    }

    /// The history of a record, decoded by `codec`; `None` if nothing was ever stored of it.
    ///
    /// Blocks the calling thread for a look at the storage, as its queries do.
    ///
    /// # Errors
    ///
    /// [`StoreError::Storage`] and [`StoreError::Ended`].
    pub fn history<T: Record, C: Decode<T> + Clone>(
        &self,
        key: &str,
        codec: C,
    ) -> Result<Option<History<T, C>>, StoreError> {
        let name = key.to_owned();
        let found = self.writer().ask(move |backend| backend.find(&name))?;
        Ok(found.map(|(record, form)| {
            History::new(Arc::clone(&self.inner.writer), key.to_owned(), record, form, codec)
        }))
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    pub(crate) fn note_restored(&self, key: &str, at: i64) {
        let at = UnixTime::from_nanos(u64::try_from(at).unwrap_or(0));
        let mut restored = self.inner.restored.lock().unwrap_or_else(PoisonError::into_inner);
        restored.insert(key.to_owned(), Restored { at });
    }

    /// Adds a fault of a record's stage, until the record is declared again.
    pub(crate) fn add_finding(
        &self,
        key: &str,
        stage: &'static str,
        problem: impl fmt::Display,
        help: &str,
    ) {
        let finding = Finding::new(Rule::BadService, key, problem.to_string(), help);
        self.findings().push((stage, finding));
    }

    /// Forgets the faults of a record in the graph before: a store may outlive it.
    pub(crate) fn forget_findings(&self, key: &str, stage: &'static str) {
        self.findings().retain(|(of, finding)| *of != stage || finding.record != key);
    }

    /// Whether a record is restored and has a history. Its newest value and the last row of its history are then written
    /// together: otherwise a kill between the two would leave a value that is restored and in no history.
    pub(crate) fn has_both(&self, key: &str) -> bool {
        self.inner.with_both.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn findings(&self) -> MutexGuard<'_, Vec<(&'static str, Finding)>> {
        self.inner.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a stage of this store cannot run.
    pub(crate) fn check_service(&self) -> Result<(), &'static str> {
        if self.inner.is_service.load(Relaxed) {
            return Ok(());
        }
        Err("its store is no service of this database: add `builder.service(store.clone())`")
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.inner.writer.description()).finish()
    }
}

impl Service<TokioAdapter> for Store {
    type Run = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn name(&self) -> &str {
        "store"
    }

    fn describe(&self) -> String {
        self.inner.writer.description().to_owned()
    }

    fn check(&self, graph: &Graph) -> Vec<Finding> {
        let has =
            |record: &&RecordNode, name: &str| record.stages.iter().any(|stage| stage.name == name);
        let both =
            graph.records.iter().filter(|record| has(record, RESTORE) && has(record, HISTORY));
        *self.inner.with_both.lock().unwrap_or_else(PoisonError::into_inner) =
            both.map(|record| record.key.clone()).collect();
        self.findings().iter().map(|(_, finding)| finding.clone()).collect()
    }

    fn run(self, _db: WeakAimDb<TokioAdapter>, ctx: RuntimeContext<TokioAdapter>) -> Self::Run {
        self.inner.is_service.store(true, Relaxed);
        Box::pin(async move {
            let mut was_good = true;
            while !ctx.is_stopping() {
                let status = self.status();
                match (&status, was_good) {
                    (Status::Failing { .. }, true) => ctx.log().error(format_args!("{status}")),
                    (Status::Good, false) => ctx.log().info("the storage works again"),
                    _ => {}
                }
                was_good = matches!(status, Status::Good);
                let pause = ctx.time().sleep(LOOK);
                aimdb_core::race::race(ctx.stopping(), pause).await;
            }
            // All stages have ended: what they gave is written before the shutdown ends.
            self.flush().await?;
            Ok(())
        })
    }
}
