//! The values of one record as server-sent events.
//!
//! ```text
//!   AnyObserver ── see ──▶ the stream's task ── one frame at a time ──▶ the body of the answer ──▶ the caller
//! ```
//!
//! The task makes a frame when the connection has taken the one before. A caller that is slow lets its observer fall
//! behind: the writer never waits, and the next frame says how many values the caller has missed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aimdb_core::access::AccessError;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

use crate::api::{AppState, find, may};
use crate::app::{App, StreamPlace};
use crate::caller::Caller;
use crate::reply::{Refusal, with_type};
use crate::server::ended;
use crate::value;

/// A comment is sent when nothing else was for this long, so that both ends notice a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The time for the last event of a stream.
const GOODBYE: Duration = Duration::from_millis(100);

/// The time in which a stream shows what was there when the console ended.
const REST: Duration = Duration::from_millis(20);

/// The name of the observers of callers.
pub(crate) const OBSERVER: &str = "console";

pub(crate) async fn of_record(
    State(app): AppState,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let record = find(&app.db()?, &key)?;
    may(caller.grants.may_observe(&key), "observe", &key)?;
    let place = app.take_stream(&caller)?;
    let observer = record.observe(OBSERVER)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let encoding = record.encoding().unwrap_or_default();
    stream(&app, place, async move |frames: Frames| {
        let mut observer = observer;
        let mut bytes = Vec::new();
        // The last number that the caller has. A value that was there before is sent at once.
        // One that the record has not reached is from an earlier run of the program.
        let produced = record.metrics().produced;
        let seen = seen.filter(|seen| *seen <= produced);
        let mut last = seen;
        if let Ok(Some(stamp)) = record.latest(&mut bytes)
            && seen.is_none_or(|seen| seen < stamp.seq)
        {
            let missed = seen.map_or(0, |seen| stamp.seq - seen - 1);
            let at = stamp.at.map_or(0, aimdb_core::Instant::as_nanos);
            let text =
                value_event(Shown { key: &key, seq: stamp.seq, at, missed }, encoding, &bytes);
            frames.send(Frame { id: Some(stamp.seq), event: "value", data: text }).await?;
            last = Some(stamp.seq);
        }
        loop {
            bytes.clear();
            match frames.or_keep_alive(observer.see(&mut bytes)).await? {
                Ok(saw) => {
                    // The value that was sent first, or one that the caller had before.
                    if last.is_some_and(|last| saw.seq <= last) {
                        continue;
                    }
                    let missed = last.map_or(saw.missed, |last| saw.seq - last - 1);
                    last = Some(saw.seq);
                    let shown = Shown { key: &key, seq: saw.seq, at: saw.at.as_nanos(), missed };
                    let data = value_event(shown, encoding, &bytes);
                    frames.send(Frame { id: Some(saw.seq), event: "value", data }).await?;
                }
                Err(error) => {
                    let closed = matches!(error, AccessError::Closed { .. });
                    frames.send(Frame::error(&error)).await?;
                    if closed {
                        return Err(Gone);
                    }
                }
            }
        }
    })
}

/// A value of a record in a stream.
pub(crate) struct Shown<'k> {
    pub(crate) key: &'k str,
    pub(crate) seq: u64,
    pub(crate) at: u64,
    /// The values before it that the caller did not get.
    pub(crate) missed: u64,
}

/// The data of an event with a value.
pub(crate) fn value_event(shown: Shown<'_>, encoding: &str, bytes: &[u8]) -> String {
    let Shown { key, seq, at, missed } = shown;
    let mut data = String::with_capacity(bytes.len() + 96);
    data.push_str("{\"record\":");
    value::append_text(&mut data, key);
    data.push_str(&format!(",\"seq\":{seq},\"at\":{at},\"missed\":{missed},"));
    value::append(&mut data, encoding, bytes);
    data.push('}');
    data
}

/// One event of a stream.
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    pub(crate) event: &'static str,
    /// One line.
    pub(crate) data: String,
}

impl Frame {
    pub(crate) fn error(error: &impl std::fmt::Display) -> Self {
        let mut data = "{\"error\":".to_owned();
        value::append_text(&mut data, &error.to_string());
        data.push('}');
        Self { id: None, event: "error", data }
    }

    fn into_bytes(self) -> Bytes {
        let Self { id, event, data } = self;
        let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
        format!("{id}event: {event}\ndata: {data}\n\n").into()
    }
}

/// The caller has disconnected, or the stream has ended.
pub(crate) struct Gone;

/// Where a stream's task puts its frames.
pub(crate) struct Frames(mpsc::Sender<Bytes>);

impl Frames {
    pub(crate) async fn send(&self, frame: Frame) -> Result<(), Gone> {
        self.0.send(frame.into_bytes()).await.map_err(|_| Gone)
    }

    /// Waits for `future`, and sends a comment whenever that takes long.
    pub(crate) async fn or_keep_alive<F: Future>(&self, future: F) -> Result<F::Output, Gone> {
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return Ok(output),
                () = self.0.closed() => return Err(Gone),
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    self.0.send(Bytes::from_static(b": still here\n\n")).await.map_err(|_| Gone)?;
                }
            }
        }
    }
}

/// An answer whose frames `make` makes, until the caller disconnects or the console ends.
pub(crate) fn stream<Fut>(
    app: &Arc<App>,
    place: StreamPlace,
    make: impl FnOnce(Frames) -> Fut,
) -> Result<Response, Refusal>
where
    Fut: Future<Output = Result<std::convert::Infallible, Gone>> + Send + 'static,
{
    let (sender, frames) = mpsc::channel(1);
    let goodbye = sender.clone();
    let made = make(Frames(sender));
    let mut ends = app.ends.clone();
    tokio::spawn(async move {
        let mut made = std::pin::pin!(made);
        tokio::select! {
            _ = &mut made => {}
            () = ended(&mut ends) => {
                // The values and events of the drain are there already.
                _ = tokio::time::timeout(REST, made).await;
                let end = Frame { id: None, event: "end", data: "{}".to_owned() };
                // A caller that is slow does not get it.
                _ = tokio::time::timeout(GOODBYE, goodbye.send(end.into_bytes())).await;
            }
        }
        drop(place);
    });
    Ok(with_type("text/event-stream", Body::from_stream(FrameStream(frames))))
}

struct FrameStream(mpsc::Receiver<Bytes>);

impl Stream for FrameStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}
