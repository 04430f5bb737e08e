//! The handle of a store, and its service.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aimdb_core::service::Service;
use aimdb_core::{
    BoxError, BufferCfg, Decode, Encode, Finding, Graph, Record, Rule, RuntimeContext, UnixTime,
    WeakAimDb,
};
use aimdb_tokio_adapter::TokioAdapter;

use crate::backend::{Backend, Newest, unix_time};
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
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg, Json};
/// use aimdb_store::{Persist, Store};
/// use aimdb_tokio_adapter::TokioAdapter;
///
/// fn declare(builder: &mut AimDbBuilder<TokioAdapter>, store: &Store) {
///     builder.service(store.clone());
///     builder.configure::<f32>("config.setpoint", |reg| {
///         reg.buffer(BufferCfg::latest()).written_from_outside().restore(store, Json);
///     });
/// }
/// # declare(&mut AimDbBuilder::on(TokioAdapter), &Store::in_memory());
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Arc<Writer>,
    /// The records of the graph, by key.
    records: Mutex<HashMap<String, Declared>>,
    /// The databases that run with this store as a service.
    services: AtomicUsize,
}

/// A record of this store.
#[derive(Default)]
struct Declared {
    plan: Arc<Plan>,
    /// The media type of the codec that restores, and that of the history.
    restores: Option<String>,
    history: Option<String>,
    /// The call that restores has set the record's initial value.
    has_initial: bool,
    findings: Vec<(&'static str, Finding)>,
}

/// The plan of a record in one graph, which the stages of the record share. A store may serve one graph after another.
#[derive(Default)]
pub(crate) struct Plan {
    restores: AtomicBool,
    has_history: AtomicBool,
    /// The graph was checked: a later call declares another graph.
    is_sealed: AtomicBool,
    origin: OnceLock<Origin>,
}

impl Plan {
    /// Notes that the first value of the record was restored.
    pub(crate) fn note_restored(&self, origin: Origin) {
        _ = self.origin.set(origin);
    }

    /// The origin of the first value of the record, if that was restored.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.origin.get().copied()
    }

    /// Whether the record is restored and has a history. Its newest value and the last row of its history are then written
    /// together: otherwise a kill between the two would leave a value that is restored and in no history.
    pub(crate) fn has_both(&self) -> bool {
        self.restores.load(Relaxed) && self.has_history.load(Relaxed)
    }
}

impl Declared {
    /// Begins a plan for another graph.
    fn renew_if(&mut self, has_call: impl FnOnce(&Plan) -> bool) {
        if self.plan.is_sealed.load(Relaxed) || has_call(&self.plan) {
            self.plan = Arc::default();
        }
    }
}

/// Where a restored value comes from.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// When it was stored.
    pub(crate) at: i64,
    /// It was stored in another form.
    pub(crate) is_migrated: bool,
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
        let (records, services) = Default::default();
        Ok(Self { inner: Arc::new(Inner { writer, records, services }) })
    }

    /// Whether the storage works.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.writer.status()
    }

    /// Waits until everything that was given to the store is written. A value that a stage has not taken from its record yet was
    /// not given.
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
        let origin = self.records().get(key)?.plan.origin()?;
        Some(Restored { at: unix_time(origin.at) })
    }

    /// The stored newest value of a record that is restored, and its time, after everything that was given before. A program that
    /// must know that a value is in the file asks here.
    ///
    /// Blocks the calling thread for a look at the storage.
    ///
    /// # Errors
    ///
    /// [`StoreError::Decode`], [`StoreError::Storage`] and [`StoreError::Ended`].
    pub fn newest<T: Record, C: Encode<T> + Decode<T>>(
        &self,
        key: &str,
        mut codec: C,
    ) -> Result<Option<(T, UnixTime)>, StoreError> {
        let Some(newest) = self.stored(key)? else { return Ok(None) };
        let value = newest.decode(key, &mut codec).map_err(|reason| StoreError::Decode {
            key: key.to_owned(),
            stored: (*newest.form).clone(),
            reason,
        })?;
        Ok(Some((value, unix_time(newest.at))))
    }

    /// The stored newest value of a record, as it is.
    pub(crate) fn stored(&self, key: &str) -> Result<Option<Newest>, StoreError> {
        let name = key.to_owned();
        self.writer().ask(move |backend| {
            let Some((record, _)) = backend.find(&name)? else { return Ok(None) };
            backend.newest(record)
        })
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

    fn records(&self) -> MutexGuard<'_, HashMap<String, Declared>> {
        self.inner.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares that a record is restored.
    pub(crate) fn declare_restore(&self, key: &str, codec: &str) -> Arc<Plan> {
        let mut records = self.records();
        let record = records.entry(key.to_owned()).or_default();
        record.findings.retain(|(stage, _)| *stage != RESTORE);
        (record.restores, record.has_initial) = (Some(codec.to_owned()), false);
        record.renew_if(|plan| plan.restores.load(Relaxed));
        record.plan.restores.store(true, Relaxed);
        Arc::clone(&record.plan)
    }

    /// Declares that a record has a history.
    pub(crate) fn declare_history(&self, key: &str, codec: &str) -> Arc<Plan> {
        let mut records = self.records();
        let record = records.entry(key.to_owned()).or_default();
        record.findings.retain(|(stage, _)| *stage != HISTORY);
        record.history = Some(codec.to_owned());
        record.renew_if(|plan| plan.has_history.load(Relaxed));
        record.plan.has_history.store(true, Relaxed);
        Arc::clone(&record.plan)
    }

    pub(crate) fn note_initial(&self, key: &str) {
        self.records().entry(key.to_owned()).or_default().has_initial = true;
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
        self.records().entry(key.to_owned()).or_default().findings.push((stage, finding));
    }

    /// Why a stage of this store cannot run.
    pub(crate) fn check_service(&self) -> Result<(), &'static str> {
        if self.inner.services.load(Relaxed) > 0 {
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
        let mut records = self.records();
        let mut findings = Vec::new();
        for node in &graph.records {
            let has = |name: &str| node.stages.iter().any(|stage| stage.name == name);
            let (restores, history) = (has(RESTORE), has(HISTORY));
            let Some(record) = records.get_mut(&node.key) else { continue };
            let mut add = |problem: String, help: &str| {
                findings.push(Finding::new(Rule::BadService, &*node.key, problem, help));
            };
            record.plan.is_sealed.store(true, Relaxed);
            let has_both = restores && history;
            if has_both && !record.plan.has_both() {
                let problem =
                    "it is restored and has a history by calls that do not belong together";
                add(problem.into(), "make both calls in one `configure`");
            }
            if (restores || history)
                && node.buffers.iter().any(|buffer| matches!(buffer.cfg, BufferCfg::Mailbox))
            {
                let problem = "it is a mailbox, whose commands a store would take from their taker";
                add(problem.into(), "store what the command changes, in a record of its own");
            }
            if has_both && record.restores != record.history {
                let problem = "its newest value and its history have different codecs";
                add(problem.into(), "give both calls the same codec: the two are written together");
            }
            if restores && node.initial_values.len() > usize::from(record.has_initial) {
                let problem = "it is restored, and has an initial value of its own";
                add(
                    problem.into(),
                    "use `.restore_or(&store, codec, first)` instead of `.initial(first)`",
                );
            }
            let of_stages = record.findings.iter().filter(|(stage, _)| has(stage));
            findings.extend(of_stages.map(|(_, finding)| finding.clone()));
        }
        findings
    }

    fn run(self, _db: WeakAimDb<TokioAdapter>, ctx: RuntimeContext<TokioAdapter>) -> Self::Run {
        self.inner.services.fetch_add(1, Relaxed);
        let serves = Serves(Arc::clone(&self.inner));
        Box::pin(async move {
            let _serves = serves;
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

/// A database that runs with the store as a service.
struct Serves(Arc<Inner>);

impl Drop for Serves {
    fn drop(&mut self) {
        self.0.services.fetch_sub(1, Relaxed);
    }
}
