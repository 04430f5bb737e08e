//! One stage at run time: its task, and the cell that the rest of the engine sees of it.

use crate::sync::Arc;
use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use super::events::DbEventKind;
use super::health::{StageHealth, StageState};
use super::result::StageResult;
use crate::engine::lifecycle::Engine;
use crate::error::StageFailure;
use crate::graph::node::StageRole;
use crate::owner::{Owner, StageId};
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime, log};
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Acquire},
};
use crate::sync::{AtomicWaker, Lock};

pin_project_lite::pin_project! {
    /// The task of one stage, which an adapter runs.
    ///
    /// The task waits for the start, runs the stage's future, catches its panic, and records how the stage ended. The
    /// engine makes it and passes it to [`Spawn::spawn`](crate::Spawn::spawn). It is `Send` if the stage's future is.
    ///
    /// # Cancel safety
    ///
    /// An adapter may drop the task at any time, for example when its runtime shuts down. The stage has then ended as
    /// [`Stopped`](StageState::Stopped).
    #[must_use = "a stage does nothing unless it is spawned"]
    pub struct Stage<R: Runtime, F> {
        #[pin]
        future: Option<F>,
        cell: Arc<StageCell>,
        runtime: Arc<R>,
        started: bool,
    }

    impl<R: Runtime, F> PinnedDrop for Stage<R, F> {
        fn drop(this: Pin<&mut Self>) {
            // A runtime that shuts down drops its tasks. The stage must be recorded as ended, or a shutdown of the
            // database would wait for it until the deadline.
            let mut this = this.project();
            if this.future.is_some() {
                let dropped = catch(|| this.future.set(None));
                let runtime = &**this.runtime;
                this.cell.end((StageState::Stopped, None), dropped, &|origin, message| {
                    log(runtime, LogLevel::Error, origin, message);
                });
            }
        }
    }
}

impl<R: Runtime, F> Stage<R, F> {
    pub(crate) fn new(future: F, cell: Arc<StageCell>, runtime: Arc<R>) -> Self {
        Self { future: Some(future), cell, runtime, started: false }
    }

    /// The stage's name as `owner/stage`, for runtimes that name their tasks.
    #[must_use]
    pub fn name(&self) -> String {
        alloc::format!("{}", self.cell.id())
    }
}

impl<R: Runtime, F: Future<Output: StageResult>> Future for Stage<R, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let end = match this.cell.poll_gate(cx.waker(), this.started) {
            GateState::Closed => return Poll::Pending,
            GateState::Stopped => (StageState::Stopped, None),
            // Inside of the catch: the message of an error is user code too.
            GateState::Open => match catch(|| future.poll(cx).map(StageResult::into_outcome)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Ok(()))) => this.cell.end_of_return(),
                Ok(Poll::Ready(Err(cause))) | Err(cause) => (StageState::Failed, Some(cause)),
            },
        };
        // The future's readers and values are dropped before the end is announced: a shutdown that sees the end counts
        // the values that the readers left.
        let dropped = catch(|| this.future.set(None));
        let runtime = &**this.runtime;
        this.cell.end(end, dropped, &|origin, message| {
            log(runtime, LogLevel::Error, origin, message);
        });
        Poll::Ready(())
    }
}

impl<R: Runtime, F> fmt::Debug for Stage<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stage").field(&self.name()).finish()
    }
}

/// The state of a stage that its task, its context and the database share.
pub(crate) struct StageCell {
    pub(crate) name: Arc<str>,
    pub(crate) owner: Owner,
    pub(crate) role: StageRole,
    status: Lock<Status>,
    stop: AtomicBool,
    task: AtomicWaker,
    engine: Arc<Engine>,
}

struct Status {
    state: StageState,
    /// The cause of the stage's failure, or of its last attempt's.
    cause: Option<String>,
    /// The failure that the present attempt has reported of itself.
    report: Option<String>,
    restarts: u32,
    /// The stage has ended, and its event has been emitted.
    ended: bool,
}

/// The answer of [`StageCell::poll_gate`].
pub(super) enum GateState {
    /// The database has not started: the task waits.
    Closed,
    /// The task polls the stage's future.
    Open,
    /// The stage has been stopped: the task drops the stage's future.
    Stopped,
}

impl StageCell {
    pub(crate) fn new(
        name: Arc<str>,
        owner: Owner,
        role: StageRole,
        engine: Arc<Engine>,
    ) -> Arc<Self> {
        let status = Status {
            state: StageState::Ready,
            cause: None,
            report: None,
            restarts: 0,
            ended: false,
        };
        let stop = AtomicBool::new(false);
        Arc::new(Self {
            name,
            owner,
            role,
            status: Lock::new(status),
            stop,
            task: AtomicWaker::new(),
            engine,
        })
    }

    /// The stage as reports and findings name it.
    pub(crate) fn id(&self) -> StageId {
        StageId::new(self.owner.clone(), self.name.as_ref())
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Registers the task's waker and returns whether the task may run the stage.
    ///
    /// The waker is registered before the flags are loaded, and [`stop`](Self::stop) and
    /// [`AimDb::start`](crate::AimDb::start) set their flag before they wake the task. So either the load sees the
    /// flag, or the wake-up finds the waker.
    pub(super) fn poll_gate(&self, task: &Waker, started: &mut bool) -> GateState {
        self.task.register(task);
        if self.must_stop() {
            return GateState::Stopped;
        }
        if !self.engine.is_started() {
            return GateState::Closed;
        }
        if !core::mem::replace(started, true) {
            self.set_running();
        }
        GateState::Open
    }

    /// Wakes the task, which then polls the gate again.
    pub(crate) fn wake(&self) {
        self.task.wake();
    }

    /// Ends the stage at its next poll, at whichever await it is suspended.
    pub(crate) fn stop(&self) {
        // Pairs with the `Acquire` load in `must_stop`.
        self.stop.swap(true, AcqRel);
        self.wake();
    }

    pub(crate) fn must_stop(&self) -> bool {
        self.stop.load(Acquire)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.status.with(|status| status.ended)
    }

    pub(crate) fn state(&self) -> StageState {
        self.status.with(|status| status.state)
    }

    pub(crate) fn failure(&self) -> Option<StageFailure> {
        self.status.with(|status| {
            (status.state == StageState::Failed).then(|| StageFailure {
                owner: self.owner.clone(),
                stage: self.name.as_ref().into(),
                cause: status.cause.clone().unwrap_or_default(),
            })
        })
    }

    pub(crate) fn health(&self) -> StageHealth {
        self.status.with(|status| StageHealth {
            owner: self.owner.clone(),
            stage: self.name.as_ref().into(),
            role: self.role,
            state: status.state,
            cause: status.cause.clone(),
            restarts: status.restarts,
        })
    }

    /// Keeps a failure that the stage reports of itself until its attempt returns.
    pub(crate) fn report(&self, cause: String) {
        self.status.with(|status| status.report = Some(cause));
    }

    pub(crate) fn take_report(&self) -> Option<String> {
        self.status.with(|status| status.report.take())
    }

    pub(crate) fn set_restarting(&self, cause: String) {
        self.status.with(|status| {
            status.state = StageState::Restarting;
            status.cause = Some(cause);
            status.report = None;
        });
    }

    /// Counts a restart. The cause of the attempt before stays visible in the health.
    pub(crate) fn begin_next_attempt(&self) {
        self.status.with(|status| {
            status.state = StageState::Running;
            status.restarts += 1;
        });
    }

    fn set_running(&self) {
        self.status.with(|status| {
            if status.state == StageState::Ready {
                status.state = StageState::Running;
            }
        });
    }

    /// The end of a stage whose future returned: a failure if the stage reported one.
    fn end_of_return(&self) -> (StageState, Option<String>) {
        match self.take_report() {
            Some(cause) => (StageState::Failed, Some(cause)),
            None => (StageState::Finished, None),
        }
    }

    /// Logs and announces the end of a stage whose future has been dropped, which may have panicked (`dropped`).
    fn end(
        &self,
        (state, cause): (StageState, Option<String>),
        dropped: Result<(), String>,
        log: &dyn Fn(&str, fmt::Arguments<'_>),
    ) {
        let (state, cause) = match dropped {
            Ok(()) => (state, cause),
            Err(panic) => (StageState::Failed, cause.or(Some(panic))),
        };
        let cause = self.set_state(state, cause);
        let stage = || self.id();
        let text = || cause.clone().unwrap_or_default();
        // Before the shutdown can see the end: the event precedes those that the end brings about.
        match state {
            StageState::Failed => {
                let failed = || DbEventKind::StageFailed { stage: stage(), cause: text() };
                self.engine.events.emit(failed);
            }
            StageState::Finished => {
                self.engine.events.emit(|| DbEventKind::StageFinished { stage: stage() });
            }
            _ => {}
        }
        self.status.with(|status| status.ended = true);
        if state == StageState::Failed {
            self.engine.handle_stage_failure();
        }
        self.engine.changed.notify();
        if let (StageState::Failed, Some(cause)) = (state, &cause) {
            log(self.owner.name(), format_args!("stage `{}` failed: {cause}", self.name));
        }
    }

    /// Sets the state in which the stage has ended. Returns its cause.
    fn set_state(&self, state: StageState, cause: Option<String>) -> Option<String> {
        self.status.with(|status| {
            status.state = state;
            status.cause = cause.or(status.report.take()).or(status.cause.take());
            status.cause.clone()
        })
    }
}
