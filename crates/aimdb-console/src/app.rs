//! The state that all connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aimdb_core::{AimDb, Log, WeakAimDb};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::sync::watch;

use crate::caller::Caller;
use crate::grants::Grants;
use crate::journal::Journal;
use crate::reply::Refusal;
use crate::tls::Acceptor;

/// The database that the console shows.
pub(crate) type Db = AimDb<TokioAdapter>;

/// The most connections, streams and bytes, and the longest waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    /// The most records in one stream of values.
    pub(crate) stream_records: usize,
    pub(crate) body_bytes: usize,
    /// The time for the head of a request, and for the pause before it.
    pub(crate) head: Duration,
    /// The time for the body of a request.
    pub(crate) body: Duration,
    /// The time that a caller may take no bytes.
    pub(crate) stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            streams: 64,
            stream_records: 1000,
            body_bytes: 1 << 20,
            head: Duration::from_secs(20),
            body: Duration::from_secs(10),
            stalled: Duration::from_secs(30),
        }
    }
}

/// A token and its grants.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) secret: String,
    pub(crate) grants: Grants,
}

/// The state that the handlers of all requests share.
pub(crate) struct App {
    /// The name of the database.
    pub(crate) name: String,
    pub(crate) db: WeakAimDb<TokioAdapter>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) hosts: Vec<String>,
    /// Makes connections by HTTP encrypted ones.
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) limits: Limits,
    pub(crate) journal: Journal,
    pub(crate) log: Log<TokioAdapter>,
    /// The streams of callers by HTTP, and those of the owner: neither takes the other's places.
    pub(crate) streams: [Arc<AtomicUsize>; 2],
    /// Refused requests, since the start.
    pub(crate) refused: AtomicU64,
    /// Becomes `true` when streams and connections are to end.
    pub(crate) ends: watch::Receiver<bool>,
}

impl App {
    /// The database, which lives at least until the answer is made.
    pub(crate) fn db(&self) -> Result<Db, Refusal> {
        self.db.upgrade().ok_or_else(|| Refusal::gone("the database has ended"))
    }

    /// Takes a place for a stream, which its guard gives back.
    pub(crate) fn take_stream(&self, caller: &Caller) -> Result<StreamPlace, Refusal> {
        let limit = self.limits.streams;
        let streams = &self.streams[usize::from(caller.is_owner)];
        // Taken first: two requests never share the last place.
        let place = StreamPlace(Arc::clone(streams));
        if streams.fetch_add(1, Relaxed) < limit {
            Ok(place)
        } else {
            drop(place);
            Err(Refusal::busy(
                format!("there are {limit} streams already"),
                "close a page or end a `tail`; the program can allow more: `Console::max_streams`",
            ))
        }
    }
}

/// A place among the streams.
pub(crate) struct StreamPlace(Arc<AtomicUsize>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
