//! The lifecycle flags that the stages of a database share.

use super::events::EventHub;
use super::notify::Notify;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

/// The lifecycle of one database: the start gate, the requests to stop, and a notification of every change.
///
/// Each flag is set once and never cleared. A store with `Release` pairs with the `Acquire` load in the flag's getter.
pub(crate) struct Engine {
    started: AtomicBool,
    stopping: AtomicBool,
    /// All stages have ended, or are aborted: the services end.
    finishing: AtomicBool,
    shutdown_requested: AtomicBool,
    stop_on_failure: bool,
    /// Notified after each change to `stopping`, `finishing` and `shutdown_requested`, at each step of a shutdown, and at the end of
    /// every stage and inbound link.
    pub(crate) changed: Notify,
    pub(crate) events: EventHub,
}

impl Engine {
    pub(crate) fn new(stop_on_failure: bool, events: EventHub) -> Self {
        Self {
            started: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
            shutdown_requested: AtomicBool::new(false),
            stop_on_failure,
            changed: Notify::new(),
            events,
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Acquire)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    pub(crate) fn is_shutdown_requested(&self) -> bool {
        self.shutdown_requested.load(Acquire)
    }

    pub(crate) fn request_shutdown(&self) {
        self.shutdown_requested.store(true, Release);
        self.changed.notify();
    }

    pub(super) fn handle_stage_failure(&self) {
        if self.stop_on_failure {
            self.request_shutdown();
        }
    }

    /// Lets stages run. The caller wakes their tasks afterwards: a task that waits at the gate does not watch
    /// `changed`.
    pub(super) fn open_gate(&self) {
        self.started.store(true, Release);
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.finishing.load(Acquire)
    }

    /// Ends the services.
    pub(super) fn begin_finish(&self) {
        self.finishing.store(true, Release);
        self.changed.notify();
    }

    pub(super) fn begin_stop(&self) {
        self.stopping.store(true, Release);
        self.changed.notify();
    }
}
