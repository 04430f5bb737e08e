//! One stage while it runs: its task, and the cell that the rest of the engine sees of it.

use crate::sync::Arc;
use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use super::health::{StageHealth, StageState};
use crate::engine::lifecycle::Engine;
use crate::error::StageFailure;
use crate::graph::node::StageRole;
use crate::owner::{Owner, StageId};
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime};
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Acquire},
};
use crate::sync::{AtomicWaker, Lock};

/// What the engine knows of a stage. Shared by the stage's task, its context, and the database.
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
    /// Why it failed, or why its last attempt did.
    cause: Option<String>,
    /// What the attempt that runs has reported of itself.
    report: Option<String>,
    restarts: u32,
}

impl StageCell {
    pub(crate) fn new(
        name: Arc<str>,
        owner: Owner,
        role: StageRole,
        engine: Arc<Engine>,
    ) -> Arc<Self> {
        let status = Status { state: StageState::Ready, cause: None, report: None, restarts: 0 };
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

    /// Makes the task look at `stop` and at the engine's gate again.
    pub(crate) fn wake(&self) {
        self.task.wake();
    }

    /// Ends the stage at its next poll, wherever it is.
    pub(crate) fn stop(&self) {
        self.stop.swap(true, AcqRel);
        self.wake();
    }

    fn must_stop(&self) -> bool {
        self.stop.load(Acquire)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.status.with(|status| status.state.is_end())
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

    /// Notes a failure that the stage reports of itself.
    pub(crate) fn report(&self, cause: String) {
        self.status.with(|status| status.report = Some(cause));
    }

    pub(crate) fn take_report(&self) -> Option<String> {
        self.status.with(|status| status.report.take())
    }

    pub(crate) fn restarting(&self, cause: String) {
        self.status.with(|status| {
            status.state = StageState::Restarting;
            status.cause = Some(cause);
            status.report = None;
        });
    }

    /// A new attempt runs; what ended the last one stays visible.
    pub(crate) fn restarted(&self) {
        self.status.with(|status| {
            status.state = StageState::Running;
            status.restarts += 1;
        });
    }

    /// What a stage's task is to do when it is polled.
    pub(super) fn poll_gate(&self, task: &Waker, started: &mut bool) -> Admission {
        self.task.register(task);
        if self.must_stop() {
            return Admission::Stop;
        }
        if !self.engine.is_started() {
            return Admission::Wait;
        }
        if !core::mem::replace(started, true) {
            self.running();
        }
        Admission::Go
    }

    /// How a stage ended that returned: it failed if it said so.
    fn returned(&self) -> (StageState, Option<String>) {
        match self.take_report() {
            Some(cause) => (StageState::Failed, Some(cause)),
            None => (StageState::Finished, None),
        }
    }

    /// Notes and logs how a stage ended whose future is gone; that may have panicked, too.
    fn has_ended(
        &self,
        (state, cause): (StageState, Option<String>),
        dropped: Result<(), String>,
        log: &dyn Fn(&str, fmt::Arguments<'_>),
    ) {
        let (state, cause) = match dropped {
            Ok(()) => (state, cause),
            Err(panic) => (StageState::Failed, cause.or(Some(panic))),
        };
        if let (StageState::Failed, Some(cause)) = (state, &cause) {
            log(self.owner.name(), format_args!("stage `{}` failed: {cause}", self.name));
        }
        self.end(state, cause);
    }

    fn running(&self) {
        self.status.with(|status| {
            if status.state == StageState::Ready {
                status.state = StageState::Running;
            }
        });
    }

    fn end(&self, state: StageState, cause: Option<String>) {
        self.status.with(|status| {
            status.state = state;
            status.cause = cause.or(status.report.take()).or(status.cause.take());
        });
        if state == StageState::Failed {
            self.engine.stage_failed();
        }
        self.engine.changed.notify();
    }
}

/// What a stage's task is to do when it is polled.
pub(super) enum Admission {
    /// The database has not started.
    Wait,
    Go,
    Stop,
}

pin_project_lite::pin_project! {
    /// The task of one stage: waits for the start, runs the stage's future, catches its panic, notes how it ended.
    ///
    /// Made by the engine, run by the adapter. It is `Send` if the stage's future is.
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
            // A runtime that goes away takes its tasks with it; whoever waits for this stage must not wait for ever.
            let mut this = this.project();
            if this.future.is_some() {
                let dropped = catch(|| this.future.set(None));
                let runtime = &**this.runtime;
                this.cell.has_ended((StageState::Stopped, None), dropped, &|origin, message| {
                    runtime.log(LogLevel::Error, origin, message);
                });
            }
        }
    }
}

impl<R: Runtime, F> Stage<R, F> {
    pub(crate) fn new(future: F, cell: Arc<StageCell>, runtime: Arc<R>) -> Self {
        Self { future: Some(future), cell, runtime, started: false }
    }

    /// `record/stage`, for runtimes that name their tasks.
    #[must_use]
    pub fn name(&self) -> String {
        alloc::format!("{}", self.cell.id())
    }
}

impl<R: Runtime, F> fmt::Debug for Stage<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stage").field(&self.name()).finish()
    }
}

impl<R: Runtime, F: Future<Output = ()>> Future for Stage<R, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let end = match this.cell.poll_gate(cx.waker(), this.started) {
            Admission::Wait => return Poll::Pending,
            Admission::Stop => (StageState::Stopped, None),
            Admission::Go => match catch(|| future.poll(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => this.cell.returned(),
                Err(panic) => (StageState::Failed, Some(panic)),
            },
        };
        // The future's readers and values go before anybody is told that the stage has ended.
        let dropped = catch(|| this.future.set(None));
        let runtime = &**this.runtime;
        this.cell.has_ended(end, dropped, &|origin, message| {
            runtime.log(LogLevel::Error, origin, message);
        });
        Poll::Ready(())
    }
}
