//! Watches for writers that wait for room too long.

use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Poll, ready};
use core::time::Duration;

use super::events::{DbEventKind, EventHub};
use crate::metrics::BlockedWriter;
use crate::record::RecordEntry;
use crate::runtime::adapter::{LogLevel, Runtime};
use crate::sync::Lock;

/// Looks at every record at intervals, logs the writers that wait too long, and logs when they wait no more.
pub(crate) struct Monitor {
    after: Duration,
    /// A pointer, so that a program without a monitor does not contain the code.
    check: fn(&Self, &dyn Watched),
    /// The records whose writers were reported as blocked, by index.
    reported: Lock<Vec<usize>>,
}

/// The parts of a database that the monitor needs.
pub(crate) trait Watched {
    fn records(&self) -> &[RecordEntry];
    fn events(&self) -> &EventHub;
    fn log(&self, level: LogLevel, record: &str, message: fmt::Arguments<'_>);
}

impl Monitor {
    /// A monitor that reports writers which wait longer than `after`.
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, check, reported: Lock::new(Vec::new()) }
    }

    /// Reports the changes since the last check.
    pub(super) fn check(&self, db: &dyn Watched) {
        (self.check)(self, db);
    }
}

/// Waits for `end` and watches the writers of `db` meanwhile, if it has a monitor. Several callers at once report each wait
/// once.
pub(super) async fn watch_until<R: Runtime>(
    monitor: Option<&Monitor>,
    db: &impl Watched,
    runtime: &R,
    end: impl Future<Output = ()>,
) {
    let (mut end, mut timer) = (pin!(end), pin!(None::<R::Sleep>));
    poll_fn(|cx| {
        loop {
            if end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Some(monitor) = monitor else { return Poll::Pending };
            match timer.as_mut().as_pin_mut() {
                // A wait is found at most half of `after` late.
                None => {
                    let interval = (monitor.after / 2).max(Duration::from_millis(10));
                    timer.set(Some(runtime.sleep_until(runtime.now() + interval)));
                }
                Some(sleep) => {
                    ready!(sleep.poll(cx));
                    monitor.check(db);
                    timer.set(None);
                }
            }
        }
    })
    .await;
}

/// Reports the changes since the last check.
fn check(monitor: &Monitor, db: &dyn Watched) {
    for (at, record) in db.records().iter().enumerate() {
        let blocked = record.metrics().blocked.filter(|blocked| blocked.waiting >= monitor.after);
        let change = monitor.reported.with(|reported| {
            match (reported.iter().position(|&one| one == at), &blocked) {
                (None, Some(_)) => reported.push(at),
                (Some(place), None) => drop(reported.swap_remove(place)),
                _ => return false,
            }
            true
        });
        if change {
            report(db, &record.key, blocked);
        }
    }
}

fn report(db: &dyn Watched, key: &str, blocked: Option<BlockedWriter>) {
    let (level, kind) = match blocked {
        Some(BlockedWriter { held_back_by, waiting, .. }) => (
            LogLevel::Warn,
            DbEventKind::WriterBlocked { record: key.into(), held_back_by, waiting },
        ),
        None => (LogLevel::Info, DbEventKind::WriterFree { record: key.into() }),
    };
    db.log(level, key, format_args!("{kind}"));
    db.events().emit(|| kind);
}
