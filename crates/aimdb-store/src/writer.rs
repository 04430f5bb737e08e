//! The thread that alone uses the storage.
//!
//! ```text
//!   stages ── Command ──▶ queue of 4,096 ──┐
//!   stages ── newest value, one place each ┼─▶ thread ── batch with its trims ──▶ Backend::write
//!   callers ── Question ───────────────────┘      │
//!                                                 └─ refused: the batch stays, and is tried again after a pause
//! ```
//!
//! A batch is written 50 ms after its first value came, or when it has 1,000 values or a mebibyte, or when a caller waits for it. A
//! question is answered after everything that was given before it; while the storage refuses writes, with its reason.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::backend::{Backend, Newest, RecordId, Row, Write};
use crate::error::{Status, StoreError};
use crate::keep::Keep;

/// The commands that wait, at most.
const QUEUE: usize = 4096;

/// The time from the first value of a batch until it is written.
const BATCH_TIME: Duration = Duration::from_millis(50);
const BATCH_VALUES: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;

/// The pauses between attempts to write a batch.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The attempts to write the last batch, once no handle is left.
const LAST_ATTEMPTS: u32 = 3;

/// How often the ages of values are looked at.
const AGES: Duration = Duration::from_secs(1);

/// A question to the storage, or to the reason why it cannot be asked.
type Question = Box<dyn FnOnce(Result<&mut dyn Backend, StoreError>) + Send>;

pub(crate) enum Command {
    /// There are newest values of records that are restored.
    Newest,
    /// The next value of a history, or a gap of this many; maybe it is the newest value of a record that is restored, too.
    Append {
        record: RecordId,
        at: i64,
        value: Option<Vec<u8>>,
        missed: u64,
        newest: Option<Newest>,
    },
    /// Limits of a history.
    Keep { record: RecordId, keep: Keep },
    /// Answered once everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// The newest values of restored records that are not in a batch yet. They wait in no queue, because a newer one takes the place
/// of an older one.
type Newests = Arc<Mutex<HashMap<RecordId, Newest>>>;

/// The ways to the thread, as long as a handle of the store lives.
struct Ways {
    commands: mpsc::Sender<Command>,
    questions: mpsc::UnboundedSender<Question>,
}

pub(crate) struct Writer {
    /// `None` only while it is being dropped.
    ways: Option<Ways>,
    thread: Option<JoinHandle<()>>,
    newests: Newests,
    status: Arc<Mutex<Status>>,
    description: String,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(backend: Box<dyn Backend>) -> Result<Self, StoreError> {
        let (commands, given) = mpsc::channel(QUEUE);
        let (questions, asked) = mpsc::unbounded_channel();
        let (status, newests) = (Arc::new(Mutex::new(Status::Good)), Newests::default());
        let description = backend.describe();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(StoreError::storage)?;
        let work = Work {
            backend,
            status: Arc::clone(&status),
            newests: Arc::clone(&newests),
            given,
            asked,
            batch: Vec::new(),
            bytes: 0,
            newest_rows: HashMap::new(),
            has_newest: false,
            keeps: HashMap::new(),
            to_trim: Vec::new(),
            seqs: HashMap::new(),
            flushes: Vec::new(),
            attempts: 0,
        };
        let thread = thread::Builder::new()
            .name("aimdb-store".into())
            .spawn(move || runtime.block_on(work.run()))
            .map_err(StoreError::storage)?;
        let ways = Some(Ways { commands, questions });
        Ok(Self { ways, thread: Some(thread), newests, status, description })
    }

    fn ways(&self) -> Result<&Ways, StoreError> {
        self.ways.as_ref().ok_or(StoreError::Ended)
    }

    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    pub(crate) fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Gives the newest value of a record. Never waits.
    pub(crate) fn give_newest(&self, record: RecordId, newest: Newest) -> Result<(), StoreError> {
        let commands = &self.ways()?.commands;
        let was_empty = {
            let mut newests = lock(&self.newests);
            let was_empty = newests.is_empty();
            newests.insert(record, newest);
            was_empty
        };
        if commands.is_closed() {
            return Err(StoreError::Ended);
        }
        if was_empty {
            // Without room the thread has other commands, and looks after them.
            _ = commands.try_send(Command::Newest);
        }
        Ok(())
    }

    /// Gives a command, and waits for room.
    pub(crate) async fn give(&self, command: Command) -> Result<(), StoreError> {
        self.ways()?.commands.send(command).await.map_err(|_| StoreError::Ended)
    }

    /// Waits until everything that was given is written.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.give(Command::Flush(done)).await?;
        answer.await.map_err(|_| StoreError::Ended)
    }

    /// Asks the storage, after what was given before.
    pub(crate) async fn ask_later<O: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Backend) -> Result<O, StoreError> + Send + 'static,
    ) -> Result<O, StoreError> {
        let (sender, answer) = oneshot::channel();
        let question: Question =
            Box::new(move |storage| _ = sender.send(storage.and_then(question)));
        self.ways()?.questions.send(question).map_err(|_| StoreError::Ended)?;
        answer.await.map_err(|_| StoreError::Ended)?
    }

    /// [`ask_later`](Self::ask_later), blocking the calling thread.
    pub(crate) fn ask<O: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Backend) -> Result<O, StoreError> + Send + 'static,
    ) -> Result<O, StoreError> {
        let (sender, answer) = std::sync::mpsc::sync_channel(1);
        let question: Question =
            Box::new(move |storage| _ = sender.send(storage.and_then(question)));
        self.ways()?.questions.send(question).map_err(|_| StoreError::Ended)?;
        answer.recv().map_err(|_| StoreError::Ended)?
    }
}

/// Closes the storage: what was given is written first. It waits for the thread, so that the file is free afterwards.
impl Drop for Writer {
    fn drop(&mut self) {
        self.ways = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Work {
    backend: Box<dyn Backend>,
    status: Arc<Mutex<Status>>,
    newests: Newests,
    given: mpsc::Receiver<Command>,
    asked: mpsc::UnboundedReceiver<Question>,
    batch: Vec<Write>,
    bytes: usize,
    /// The newest values that are rows of this batch, too: they are written with it.
    newest_rows: HashMap<RecordId, Newest>,
    /// Some newest value waits for a batch.
    has_newest: bool,
    keeps: HashMap<RecordId, Keep>,
    /// The records whose histories are trimmed with this batch.
    to_trim: Vec<RecordId>,
    /// The number of the last row of each record that was appended to.
    seqs: HashMap<RecordId, i64>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Attempts since the storage last worked.
    attempts: u32,
}

/// However the thread ends: what is given from then on is not written.
impl Drop for Work {
    fn drop(&mut self) {
        let attempts = self.attempts.max(1);
        *lock(&self.status) = Status::Failing { error: Arc::new(StoreError::Ended), attempts };
    }
}

impl Work {
    /// Until the last handle of the store is gone.
    async fn run(mut self) {
        let mut ages = Instant::now() + AGES;
        let mut due = None;
        loop {
            if Instant::now() >= ages {
                let aged = self.keeps.iter().filter(|(_, keep)| keep.age.is_some());
                self.to_trim.extend(aged.map(|(record, _)| *record));
                ages = Instant::now() + AGES;
            }
            let is_full = self.batch.len() >= BATCH_VALUES || self.bytes >= BATCH_BYTES;
            if is_full
                || !self.flushes.is_empty()
                || !self.to_trim.is_empty() && !self.has_values()
                || due.is_some_and(|due| Instant::now() >= due)
            {
                due = None;
                if !self.write().await {
                    return;
                }
            }
            if due.is_none() && self.has_values() {
                due = Some(Instant::now() + BATCH_TIME);
            }
            let until = due.unwrap_or(ages).min(ages);
            tokio::select! {
                biased;
                Some(question) = self.asked.recv() => {
                    if !self.answer(question).await {
                        return;
                    }
                }
                command = self.given.recv() => match command {
                    Some(command) => self.take(command).await,
                    None => {
                        // The handles are gone, and with them every question.
                        self.write().await;
                        return;
                    }
                },
                () = sleep_until(until) => {}
            }
        }
    }

    fn has_values(&self) -> bool {
        self.has_newest || !self.batch.is_empty()
    }

    async fn take(&mut self, command: Command) {
        match command {
            Command::Newest => self.has_newest = true,
            Command::Append { record, at, value, missed, newest } => {
                let Some(seq) = self.next_seq(record).await else { return };
                self.bytes += value.as_ref().map_or(0, Vec::len);
                if let Some(newest) = newest {
                    self.newest_rows.insert(record, newest);
                }
                self.batch.push(Write::Append(record, Row { seq, at, value, missed }));
                self.trim_later(record);
            }
            Command::Keep { record, keep } => {
                self.keeps.insert(record, keep);
                // An earlier process may have kept more.
                self.trim_later(record);
            }
            Command::Flush(done) => self.flushes.push(done),
        }
    }

    fn trim_later(&mut self, record: RecordId) {
        if self.keeps.contains_key(&record) && !self.to_trim.contains(&record) {
            self.to_trim.push(record);
        }
    }

    /// Answers a question after what was given before it. `false` once no handle is left and the storage does not work.
    async fn answer(&mut self, question: Question) -> bool {
        for _ in 0..self.given.len() {
            let Ok(command) = self.given.try_recv() else { break };
            self.take(command).await;
        }
        if !self.write().await {
            return false;
        }
        question(Ok(&mut *self.backend));
        true
    }

    /// The number of the next row; `None` where the storage does not say the last one, and no handle of the store is left.
    async fn next_seq(&mut self, record: RecordId) -> Option<i64> {
        let last = match self.seqs.get(&record) {
            Some(&last) => last,
            None => self.until_it_works(|work| work.backend.last_seq(record)).await?,
        };
        self.seqs.insert(record, last + 1);
        Some(last + 1)
    }

    /// Writes the batch, and tries again until it is written. `false` if it was given up, because no handle of the store is left.
    async fn write(&mut self) -> bool {
        self.has_newest = false;
        let newests = std::mem::take(&mut *lock(&self.newests));
        // A value of the table may be older than a row's, and a record has either.
        let newests = newests.into_iter().chain(self.newest_rows.drain());
        self.batch.extend(newests.map(|(record, newest)| Write::Newest(record, newest)));
        let now = unix_now();
        for record in self.to_trim.drain(..) {
            if let Some(&keep) = self.keeps.get(&record) {
                self.batch.push(Write::Trim { record, keep, now });
            }
        }
        if !self.batch.is_empty() {
            let written = self.until_it_works(|work| work.backend.write(&work.batch)).await;
            if written.is_none() {
                let lost = self.batch.len() + self.given.len();
                let status = lock(&self.status).clone();
                tracing::error!(target: "aimdb", "store: {lost} values were not written: {status}");
                return false;
            }
        }
        self.batch.clear();
        self.bytes = 0;
        self.flushes.drain(..).for_each(|done| _ = done.send(()));
        true
    }

    /// Tries again until it works; `None` once no handle is left, after a few attempts. Questions are answered with the reason
    /// meanwhile.
    async fn until_it_works<O>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<O, StoreError>,
    ) -> Option<O> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match attempt(self) {
                Ok(outcome) => {
                    if std::mem::take(&mut self.attempts) > 0 {
                        *lock(&self.status) = Status::Good;
                    }
                    return Some(outcome);
                }
                Err(error) => error,
            };
            self.attempts += 1;
            let attempts = self.attempts;
            *lock(&self.status) = Status::Failing { error: Arc::new(error.clone()), attempts };
            let next = Instant::now() + pause;
            loop {
                if attempts >= LAST_ATTEMPTS && self.given.is_closed() {
                    return None;
                }
                tokio::select! {
                    biased;
                    Some(question) = self.asked.recv() => question(Err(error.clone())),
                    () = sleep_until(next.min(Instant::now() + FIRST_PAUSE)) => {}
                }
                if Instant::now() >= next {
                    break;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos().min(i64::MAX as u128) as i64)
}
