//! Watches for writers that wait for room too long.

use core::future::Future;
use core::pin::pin;
use core::time::Duration;

use super::events::DbEventKind;
use super::inner::DbInner;
use crate::metrics::BlockedWriter;
use crate::race::{Either, race};
use crate::runtime::adapter::{LogLevel, Runtime};

/// Waits for `end` and watches the writers of `db` meanwhile. Several callers at once report each wait once.
pub(crate) async fn watch_until<R: Runtime>(db: &DbInner<R>, end: impl Future<Output = ()>) {
    let Some(monitor) = &db.monitor else { return end.await };
    let mut end = pin!(end);
    // A wait is found at most half of `after` late.
    let interval = (monitor.after / 2).max(Duration::from_millis(10));
    loop {
        let timer = pin!(db.runtime.sleep_until(db.runtime.now() + interval));
        match race(end.as_mut(), timer).await {
            Either::First(()) => return,
            Either::Second(()) => (monitor.check)(db),
        }
    }
}

/// Reports the changes since the last check.
pub(crate) fn check<R: Runtime>(db: &DbInner<R>) {
    let Some(monitor) = &db.monitor else { return };
    for (at, record) in db.records.iter().enumerate() {
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

fn report<R: Runtime>(db: &DbInner<R>, key: &str, blocked: Option<BlockedWriter>) {
    let kind = match blocked {
        Some(blocked) => DbEventKind::WriterBlocked {
            record: key.into(),
            held_back_by: blocked.held_back_by,
            waiting: blocked.waiting,
        },
        None => DbEventKind::WriterFree { record: key.into() },
    };
    let level = match kind {
        DbEventKind::WriterBlocked { .. } => LogLevel::Warn,
        _ => LogLevel::Info,
    };
    db.runtime.log(level, key, format_args!("{kind}"));
    db.engine.events.emit(|| kind);
}
