//! One stream for a whole page: values of several records, changes of metrics and health, and events.

use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use aimdb_core::access::{AccessError, AnyObserver, AnyRecord, Seen};
use aimdb_core::events::{DbEvent, DbEvents};
use aimdb_core::health::Health;
use aimdb_core::metrics::{LinkMetrics, Metrics, RecordMetrics};
use aimdb_core::{Instant, UnixTime, WeakAimDb};
use aimdb_tokio_adapter::TokioAdapter;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::api::{AppState, Happened, health_for, may, metrics_for};
use crate::app::Db;
use crate::caller::Caller;
use crate::grants::Pattern;
use crate::reply::{Refusal, as_json};
use crate::stream::{Frame, Frames, Gone, OBSERVER, Shown, stream, value_event};

/// The least time between two looks in milliseconds, so that no caller asks for a busy loop.
const LEAST: u64 = 20;

/// The most keys and patterns of one stream.
const MOST_PATTERNS: usize = 64;

/// The parameters of a stream.
#[derive(Default)]
struct Wanted {
    keys: Vec<String>,
    every: u64,
    metrics: u64,
}

impl Wanted {
    /// Parses the query. A comma divides keys; one inside of a key is written `%2C`.
    fn parse(query: &str) -> Result<Self, Refusal> {
        const HELP: &str = "see /api/openapi.json for the parameters";
        let mut wanted = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || {
                let error =
                    |_| Refusal::bad(format!("`{name}` is no number of milliseconds"), HELP);
                value.parse::<u64>().map_err(error)
            };
            match name {
                "key" => {
                    for key in value.split(',').filter(|key| !key.is_empty()) {
                        let key = percent_decode_str(key).decode_utf8();
                        let key = key.map_err(|_| Refusal::bad("a key is no UTF-8", HELP))?;
                        wanted.keys.push(key.into_owned());
                    }
                }
                "every" => wanted.every = number()?,
                "metrics" => wanted.metrics = number()?,
                _ => return Err(Refusal::bad(format!("there is no parameter `{name}`"), HELP)),
            }
        }
        Ok(wanted)
    }
}

/// A record of a stream.
struct Watched {
    record: AnyRecord,
    observer: AnyObserver,
    /// The number of the last value that was sent.
    seq: u64,
}

pub(crate) async fn of_database(
    State(app): AppState,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let place = app.take_stream(&caller)?;
    let db = app.db()?;
    let wanted = Wanted::parse(&query.unwrap_or_default())?;
    let watched = watch(&db, &wanted.keys, &caller, app.limits.stream_records)?;
    let events = db.events();
    let weak = app.db.clone();
    drop(db);
    stream(&app, place, async move |frames: Frames| {
        let mut streaming = Streaming {
            watched,
            events: Some(events),
            next: 0,
            looks: every(wanted.every),
            snapshots: every(wanted.metrics),
            known: Known::default(),
            caller,
            db: weak,
        };
        streaming.begin(&frames).await?;
        loop {
            streaming.step(&frames).await?;
        }
    })
}

/// Observes the records that one of the keys or patterns covers.
fn watch(db: &Db, keys: &[String], caller: &Caller, limit: usize) -> Result<Vec<Watched>, Refusal> {
    let mut patterns: Vec<(Pattern, bool)> = Vec::new();
    for key in keys {
        if patterns.iter().any(|(known, _)| known.0 == *key) {
            continue;
        }
        if patterns.len() == MOST_PATTERNS {
            let error = format!("there are more than {MOST_PATTERNS} keys or patterns");
            return Err(Refusal::bad(error, "use fewer patterns, or more streams"));
        }
        patterns.push((Pattern(key.clone()), false));
    }
    let mut chosen = Vec::new();
    for record in db.records() {
        let mut is_covered = false;
        for (pattern, found) in &mut patterns {
            let covers = pattern.covers(record.key());
            *found |= covers;
            is_covered |= covers;
        }
        // A pattern leaves out the records that cannot be seen; a key names one, and the answer is why it cannot.
        if patterns.iter().any(|(pattern, _)| pattern.0 == record.key()) {
            may(caller.grants.may_observe(record.key()), "observe", record.key())?;
            if record.encoding().is_none() {
                return Err(AccessError::NotExposed { key: record.key().to_owned() }.into());
            }
        }
        if is_covered && record.encoding().is_some() && caller.grants.may_observe(record.key()) {
            chosen.push(record);
        }
    }
    if let Some((Pattern(key), _)) = patterns.iter().find(|(_, found)| !found) {
        let help = "`aimdb ls` lists all records";
        return Err(Refusal::not_found(format!("no record is called `{key}`"), help));
    }
    if chosen.is_empty() && !patterns.is_empty() {
        let error = format!("no record of `{}` is exposed to this caller", keys.join(","));
        return Err(Refusal::bad(error, "the program shows records by `reg.expose(Json)`"));
    }
    if chosen.len() > limit {
        let error =
            format!("`{}` is {} records, and {limit} are possible", keys.join(","), chosen.len());
        return Err(Refusal::bad(error, "ask for fewer records in one stream"));
    }
    let observe = |record: AnyRecord| {
        let observer = record.observe(OBSERVER)?;
        Ok(Watched { record, observer, seq: 0 })
    };
    chosen.into_iter().map(observe).collect()
}

/// A timer with this period in milliseconds; none for zero.
fn every(millis: u64) -> Option<Interval> {
    (millis > 0).then(|| {
        let mut timer = interval(Duration::from_millis(millis.max(LEAST)));
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer
    })
}

async fn tick(timer: &mut Option<Interval>) {
    match timer {
        Some(timer) => _ = timer.tick().await,
        None => pending().await,
    }
}

struct Streaming {
    watched: Vec<Watched>,
    /// `None` after the last event.
    events: Option<DbEvents>,
    /// The record that is polled first.
    next: usize,
    looks: Option<Interval>,
    snapshots: Option<Interval>,
    known: Known,
    caller: Caller,
    db: WeakAimDb<TokioAdapter>,
}

/// The metrics and the health that the caller knows.
#[derive(Default)]
struct Known {
    records: Vec<RecordMetrics>,
    links: Vec<LinkMetrics>,
    health: Option<Health>,
}

impl Streaming {
    /// Sends the newest values that are there. With looks the first one does.
    async fn begin(&mut self, frames: &Frames) -> Result<(), Gone> {
        match self.looks {
            Some(_) => Ok(()),
            None => self.look(frames).await,
        }
    }

    async fn step(&mut self, frames: &Frames) -> Result<(), Gone> {
        enum Next {
            Look,
            Snapshot,
            Event(Option<DbEvent>),
            Saw(usize, Result<Seen, AccessError>),
        }
        let mut bytes = Vec::new();
        let each_value = self.looks.is_none();
        let Self { watched, events, next, looks, snapshots, .. } = &mut *self;
        let wait = async {
            tokio::select! {
                () = tick(looks) => Next::Look,
                () = tick(snapshots) => Next::Snapshot,
                event = next_event(events) => Next::Event(event),
                (at, saw) = any_value(watched, next, &mut bytes), if each_value => Next::Saw(at, saw),
            }
        };
        match frames.or_keep_alive(wait).await? {
            Next::Look => self.look(frames).await,
            Next::Snapshot => self.snapshot(frames).await,
            Next::Event(Some(event)) => {
                frames
                    .send(Frame {
                        id: None,
                        event: "event",
                        data: as_json(&Happened::of(&event, &self.caller)),
                    })
                    .await
            }
            Next::Event(None) => {
                self.events = None;
                Ok(())
            }
            Next::Saw(at, saw) => self.saw(at, saw, &bytes, frames).await,
        }
    }

    /// Sends the newest value of each record that has a new one.
    async fn look(&mut self, frames: &Frames) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        for watched in &mut self.watched {
            bytes.clear();
            let (key, encoding) = (watched.record.key(), watched.record.encoding());
            match watched.record.latest(&mut bytes) {
                Ok(Some(stamp)) if stamp.seq > watched.seq => {
                    let missed = if watched.seq == 0 { 0 } else { stamp.seq - watched.seq - 1 };
                    watched.seq = stamp.seq;
                    let at = stamp.at.map_or(0, Instant::as_nanos);
                    let shown = Shown { key, seq: stamp.seq, at, missed };
                    let data = value_event(shown, encoding.unwrap_or_default(), &bytes);
                    frames.send(Frame { id: None, event: "value", data }).await?;
                }
                Ok(_) => {}
                Err(error) => frames.send(Frame::error(&error)).await?,
            }
        }
        Ok(())
    }

    async fn saw(
        &mut self,
        at: usize,
        saw: Result<Seen, AccessError>,
        bytes: &[u8],
        frames: &Frames,
    ) -> Result<(), Gone> {
        let watched = &mut self.watched[at];
        match saw {
            // It was sent when the stream began.
            Ok(saw) if saw.seq <= watched.seq => Ok(()),
            Ok(saw) => {
                let key = watched.record.key();
                let missed = match watched.seq {
                    0 => saw.missed,
                    last => saw.seq - last - 1,
                };
                watched.seq = saw.seq;
                let shown = Shown { key, seq: saw.seq, at: saw.at.as_nanos(), missed };
                let encoding = watched.record.encoding().unwrap_or_default();
                let data = value_event(shown, encoding, bytes);
                frames.send(Frame { id: None, event: "value", data }).await
            }
            Err(error) => {
                if matches!(error, AccessError::Closed { .. }) {
                    self.watched.swap_remove(at);
                }
                frames.send(Frame::error(&error)).await
            }
        }
    }

    /// Sends what has changed since the last snapshot.
    async fn snapshot(&mut self, frames: &Frames) -> Result<(), Gone> {
        let Some(db) = self.db.upgrade() else { return Err(Gone) };
        let (metrics, health) = (metrics_for(&db, &self.caller), health_for(&db, &self.caller));
        drop(db);
        let data = self.known.changes(metrics, health);
        frames.send(Frame { id: None, event: "metrics", data }).await
    }
}

impl Known {
    /// The changes as JSON. A record or link that has not changed is left out.
    fn changes(&mut self, metrics: Metrics, health: Health) -> String {
        #[derive(Serialize)]
        struct Changes<'c> {
            at: Instant,
            unix_at: Option<UnixTime>,
            records: Vec<&'c RecordMetrics>,
            links: Vec<&'c LinkMetrics>,
            #[serde(skip_serializing_if = "Option::is_none")]
            health: Option<&'c Health>,
        }
        let is_new = |at: usize, record: &&RecordMetrics| self.records.get(at) != Some(*record);
        let records = metrics.records.iter().enumerate().filter(|(at, record)| is_new(*at, record));
        let is_new = |at: usize, link: &&LinkMetrics| self.links.get(at) != Some(*link);
        let links = metrics.links.iter().enumerate().filter(|(at, link)| is_new(*at, link));
        // The time of the snapshot changes always.
        let changes = Changes {
            at: metrics.at,
            unix_at: metrics.unix_at,
            records: records.map(|(_, record)| record).collect(),
            links: links.map(|(_, link)| link).collect(),
            health: (!self.health.as_ref().is_some_and(|known| is_same(known, &health)))
                .then_some(&health),
        };
        let data = as_json(&changes);
        (self.records, self.links, self.health) = (metrics.records, metrics.links, Some(health));
        data
    }
}

/// Whether nothing but the time differs.
fn is_same(known: &Health, health: &Health) -> bool {
    known.state == health.state
        && known.stages == health.stages
        && known.blocked == health.blocked
        && known.links == health.links
}

async fn next_event(events: &mut Option<DbEvents>) -> Option<DbEvent> {
    match events {
        Some(events) => events.next().await,
        None => pending().await,
    }
}

/// The next value of any record, in turn.
async fn any_value(
    watched: &mut [Watched],
    next: &mut usize,
    bytes: &mut Vec<u8>,
) -> (usize, Result<Seen, AccessError>) {
    let waits = Waits(watched);
    poll_fn(|cx| {
        let records = waits.0.len();
        for step in 0..records {
            let at = (*next + step) % records;
            bytes.clear();
            if let Poll::Ready(saw) = waits.0[at].observer.poll_see(bytes, cx) {
                *next = at + 1;
                return Poll::Ready((at, saw));
            }
        }
        Poll::Pending
    })
    .await
}

/// Ends the waits of the records that were polled.
struct Waits<'w>(&'w mut [Watched]);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|watched| watched.observer.cancel_wait());
    }
}
