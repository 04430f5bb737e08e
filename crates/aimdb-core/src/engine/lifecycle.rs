//! What all stages of a database share.

use super::notify::Notify;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

/// What all stages share: the gate, the wish to stop, and a signal that something about a stage has changed.
pub(crate) struct Engine {
    started: AtomicBool,
    stopping: AtomicBool,
    shutdown_requested: AtomicBool,
    stop_on_failure: bool,
    /// Fired at every change of the above and at the end of every stage and inbound link.
    pub(crate) changed: Notify,
}

impl Engine {
    pub(crate) fn new(stop_on_failure: bool) -> Self {
        Self {
            started: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            shutdown_requested: AtomicBool::new(false),
            stop_on_failure,
            changed: Notify::new(),
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

    pub(crate) fn stage_failed(&self) {
        if self.stop_on_failure {
            self.request_shutdown();
        }
    }

    pub(super) fn open_gate(&self) {
        self.started.store(true, Release);
    }

    pub(super) fn begin_stop(&self) {
        self.stopping.store(true, Release);
        self.changed.notify();
    }
}
