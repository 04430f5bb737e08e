//! The thread that alone uses the storage.
//!
//! ```text
//!   stages ── Command ──▶ queue of 4,096 ──▶ thread ── batch ──▶ Backend::write, then trim
//!                                              │
//!                                              ├─ refused: the batch stays, and is tried again after a pause
//!                                              └─ a question (newest, rows): after what was given before it
//! ```
//!
//! A batch is written 50 ms after its first value came, or when it has 1,000 values or a mebibyte, or when a caller waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::backend::{Backend, RecordId, Row, Write};
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

/// A question to the storage.
type Question = Box<dyn FnOnce(&mut dyn Backend) + Send>;

pub(crate) enum Command {
    /// There are newest values of records that are restored.
    Newest,
    /// The next value of a history, or a gap of this many. Maybe it is also the newest value of a record that is restored.
    Append {
        record: RecordId,
        at: i64,
        value: Option<Vec<u8>>,
        missed: u64,
        is_newest: bool,
    },
    /// Limits of a history.
    Keep {
        record: RecordId,
        keep: Keep,
    },
    Ask(Question),
    /// Answered once everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// The newest values of restored records that are not in a batch yet: time and value. They wait in no queue, because a newer one
/// takes the place of an older one.
type Newest = Arc<Mutex<HashMap<RecordId, (i64, Vec<u8>)>>>;

/// The way to the thread.
pub(crate) struct Writer {
    /// `None` only while it is being dropped.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    newest: Newest,
    status: Arc<Mutex<Status>>,
    description: String,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(backend: Box<dyn Backend>) -> Result<Self, StoreError> {
        let (commands, received) = mpsc::channel(QUEUE);
        let status = Arc::new(Mutex::new(Status::Good));
        let description = backend.describe();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(StoreError::storage)?;
        let newest = Newest::default();
        let work = Work::new(backend, Arc::clone(&status), Arc::clone(&newest));
        let thread = thread::Builder::new()
            .name("aimdb-store".into())
            .spawn(move || runtime.block_on(work.run(received)))
            .map_err(StoreError::storage)?;
        let (commands, thread) = (Some(commands), Some(thread));
        Ok(Self { commands, thread, newest, status, description })
    }

    fn commands(&self) -> Result<&mpsc::Sender<Command>, StoreError> {
        self.commands.as_ref().ok_or(StoreError::Ended)
    }

    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    pub(crate) fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the newest value of a record. Never waits.
    pub(crate) fn give_newest(&self, record: RecordId, at: i64, value: Vec<u8>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = newest.is_empty();
        newest.insert(record, (at, value));
        drop(newest);
        if was_empty {
            // Without room the thread has other commands, and looks after them.
            _ = self.commands().map(|commands| commands.try_send(Command::Newest));
        }
    }

    /// Gives a command, and waits for room.
    pub(crate) async fn give(&self, command: Command) -> Result<(), StoreError> {
        self.commands()?.send(command).await.map_err(|_| StoreError::Ended)
    }

    /// Asks the storage, after what was given before.
    pub(crate) async fn ask_later<O: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Backend) -> Result<O, StoreError> + Send + 'static,
    ) -> Result<O, StoreError> {
        let (sender, answer) = oneshot::channel();
        self.give(Command::Ask(Box::new(move |backend| _ = sender.send(question(backend)))))
            .await?;
        answer.await.map_err(|_| StoreError::Ended)?
    }

    /// Waits until everything that was given is written.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.give(Command::Flush(done)).await?;
        answer.await.map_err(|_| StoreError::Ended)
    }

    /// Asks the storage, after what was given before. Blocks the calling thread.
    pub(crate) fn ask<O: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Backend) -> Result<O, StoreError> + Send + 'static,
    ) -> Result<O, StoreError> {
        let (sender, answer) = std::sync::mpsc::sync_channel(1);
        let mut command = Command::Ask(Box::new(move |backend| _ = sender.send(question(backend))));
        // A thread of an async runtime may ask, which must not block in Tokio's own way.
        loop {
            match self.commands()?.try_send(command) {
                Ok(()) => break,
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(StoreError::Ended),
                Err(mpsc::error::TrySendError::Full(back)) => {
                    command = back;
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
        answer.recv().map_err(|_| StoreError::Ended)?
    }
}

/// Closes the storage: what was given is written first. It waits for the thread, so that the file is free afterwards.
impl Drop for Writer {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            _ = thread.join();
        }
    }
}

struct Work {
    backend: Box<dyn Backend>,
    status: Arc<Mutex<Status>>,
    batch: Vec<Write>,
    bytes: usize,
    newest: Newest,
    /// The newest values that are rows of this batch, too: they are written with it.
    newest_rows: HashMap<RecordId, (i64, Vec<u8>)>,
    /// Some newest value waits for a batch.
    has_newest: bool,
    keeps: HashMap<RecordId, Keep>,
    /// The number of the newest row of each record that was appended to.
    seqs: HashMap<RecordId, i64>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Work {
    fn new(backend: Box<dyn Backend>, status: Arc<Mutex<Status>>, newest: Newest) -> Self {
        let (batch, flushes) = (Vec::new(), Vec::new());
        let (keeps, seqs) = Default::default();
        let (newest_rows, has_newest, bytes) = Default::default();
        Self {
            backend,
            status,
            batch,
            bytes,
            newest,
            newest_rows,
            has_newest,
            keeps,
            seqs,
            flushes,
        }
    }

    /// Until the last handle of the store is gone.
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ages = Instant::now() + AGES;
        loop {
            match timeout_at(ages, commands.recv()).await {
                Ok(Some(command)) => self.take(command, &commands).await,
                Ok(None) => {
                    self.write(&commands).await;
                    return;
                }
                Err(_elapsed) => {
                    self.trim_ages();
                    ages = Instant::now() + AGES;
                }
            }
            let due = Instant::now() + BATCH_TIME;
            while self.may_wait() {
                match timeout_at(due, commands.recv()).await {
                    Ok(Some(command)) => self.take(command, &commands).await,
                    Ok(None) | Err(_) => break,
                }
            }
            self.write(&commands).await;
        }
    }

    /// Whether there is something to write, and time for more.
    fn may_wait(&self) -> bool {
        (self.has_newest || !self.batch.is_empty())
            && self.batch.len() < BATCH_VALUES
            && self.bytes < BATCH_BYTES
            && self.flushes.is_empty()
    }

    async fn take(&mut self, command: Command, commands: &mpsc::Receiver<Command>) {
        match command {
            Command::Newest => self.has_newest = true,
            Command::Append { record, at, value, missed, is_newest } => {
                let Some(seq) = self.next_seq(record, commands).await else { return };
                self.bytes += value.as_ref().map_or(0, Vec::len);
                if is_newest && let Some(value) = &value {
                    self.newest_rows.insert(record, (at, value.clone()));
                }
                let row = Row { seq, at, value, missed };
                self.batch.push(Write::Append { record, row });
            }
            Command::Keep { record, keep } => {
                self.keeps.insert(record, keep);
                // An earlier process may have kept more.
                _ = self.backend.trim(record, &keep, unix_now());
            }
            Command::Ask(question) => {
                self.write(commands).await;
                question(&mut *self.backend);
            }
            Command::Flush(done) => self.flushes.push(done),
        }
    }

    /// The number of the next row; `None` where the storage does not say the last one, and no handle of the store is left.
    async fn next_seq(
        &mut self,
        record: RecordId,
        commands: &mpsc::Receiver<Command>,
    ) -> Option<i64> {
        let last = match self.seqs.get(&record) {
            Some(&last) => last,
            None => self.until_it_works(commands, |work| work.backend.last_seq(record)).await?,
        };
        self.seqs.insert(record, last + 1);
        Some(last + 1)
    }

    /// Tries again until it works; `None` once no handle is left, after a few attempts.
    async fn until_it_works<O>(
        &mut self,
        commands: &mpsc::Receiver<Command>,
        mut attempt: impl FnMut(&mut Self) -> Result<O, StoreError>,
    ) -> Option<O> {
        let (mut pause, mut attempts) = (FIRST_PAUSE, 0);
        loop {
            let error = match attempt(self) {
                Ok(outcome) => {
                    if attempts > 0 {
                        self.set(Status::Good);
                    }
                    return Some(outcome);
                }
                Err(error) => Arc::new(error),
            };
            attempts += 1;
            self.set(Status::Failing { error, attempts });
            if attempts >= LAST_ATTEMPTS && commands.is_closed() {
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Writes the batch, and tries again until it is written, or until no handle of the store is left.
    async fn write(&mut self, commands: &mpsc::Receiver<Command>) {
        self.has_newest = false;
        let newest =
            std::mem::take(&mut *self.newest.lock().unwrap_or_else(PoisonError::into_inner));
        let newest = newest.into_iter().chain(self.newest_rows.drain());
        self.batch.extend(newest.map(|(record, (at, value))| Write::Newest { record, at, value }));
        if !self.batch.is_empty() {
            let written =
                self.until_it_works(commands, |work| work.backend.write(&work.batch)).await;
            if written.is_none() {
                return;
            }
        }
        let now = unix_now();
        let mut trimmed = Vec::new();
        for write in self.batch.drain(..) {
            if let Write::Append { record, .. } = write
                && !trimmed.contains(&record)
                && let Some(keep) = self.keeps.get(&record)
            {
                trimmed.push(record);
                // Rows that it should have deleted now it deletes after the next batch.
                _ = self.backend.trim(record, keep, now);
            }
        }
        self.bytes = 0;
        self.flushes.drain(..).for_each(|done| _ = done.send(()));
    }

    fn trim_ages(&mut self) {
        let now = unix_now();
        for (record, keep) in self.keeps.iter().filter(|(_, keep)| keep.age.is_some()) {
            _ = self.backend.trim(*record, keep, now);
        }
    }

    fn set(&self, status: Status) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// Nanoseconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos().min(i64::MAX as u128) as i64)
}
