//! Loom models of the engine's handshakes: the start gate of a stage, a notification, and a token that cancels waits.
//!
//! `buffer::models` has those of the buffers.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Poll;

use loom::future::block_on;
use loom::sync::atomic::AtomicBool;
use loom::thread;

use crate::engine::events::EventHub;
use crate::engine::lifecycle::Engine;
use crate::engine::notify::Notify;
use crate::engine::stage::{GateState, StageCell};
use crate::graph::node::StageRole;
use crate::owner::Owner;
use crate::wait::{CancelTicket, CancelToken};

/// Explores `run` with up to three preemptions, as the models of the buffers do.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(run);
}

fn stage() -> (Arc<Engine>, Arc<StageCell>) {
    let engine = Arc::new(Engine::new(false, EventHub::new(None, None)));
    let owner = Owner::Record("record".into());
    let cell = StageCell::new("stage".into(), owner, StageRole::Source, Arc::clone(&engine));
    (engine, cell)
}

/// Waits at the gate as a stage's task does. Returns whether the task may run the stage.
fn wait_at_the_gate(cell: &StageCell) -> bool {
    let mut started = false;
    block_on(poll_fn(|cx| match cell.poll_gate(cx.waker(), &mut started) {
        GateState::Closed => Poll::Pending,
        GateState::Open => Poll::Ready(true),
        GateState::Stopped => Poll::Ready(false),
    }))
}

#[test]
fn a_database_starts_while_a_stage_polls_the_gate() {
    model(|| {
        let (engine, cell) = stage();
        let task = thread::spawn({
            let cell = Arc::clone(&cell);
            move || wait_at_the_gate(&cell)
        });
        engine.open_gate();
        cell.wake();
        assert!(task.join().unwrap());
    });
}

#[test]
fn a_stage_is_stopped_while_it_comes_to_the_gate() {
    model(|| {
        let (_engine, cell) = stage();
        let task = thread::spawn({
            let cell = Arc::clone(&cell);
            move || wait_at_the_gate(&cell)
        });
        cell.stop();
        assert!(!task.join().unwrap());
    });
}

#[test]
fn a_condition_becomes_true_while_two_tasks_begin_to_wait_for_it() {
    model(|| {
        let shared = Arc::new((Notify::new(), AtomicBool::new(false)));
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || block_on(shared.0.until(|| shared.1.load(Relaxed)))
        });
        let writer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.1.store(true, Relaxed);
                shared.0.notify();
            }
        });
        block_on(shared.0.until(|| shared.1.load(Relaxed)));
        other.join().unwrap();
        writer.join().unwrap();
    });
}

/// Waits until the token cancels the wait.
fn wait_for_cancellation(cancel: &CancelToken) {
    let mut ticket = CancelTicket::default();
    block_on(poll_fn(|cx| match cancel.is_cancelled_since(&mut ticket, cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }));
    cancel.cancel_wait(&mut ticket);
}

#[test]
fn a_wait_begins_while_it_is_cancelled() {
    model(|| {
        let cancel = Arc::new(CancelToken::new());
        let waiter = thread::spawn({
            let cancel = Arc::clone(&cancel);
            move || wait_for_cancellation(&cancel)
        });
        cancel.cancel();
        waiter.join().unwrap();
    });
}

#[test]
fn a_wait_that_has_begun_sees_a_cancellation_that_is_reset_at_once() {
    model(|| {
        let cancel = Arc::new(CancelToken::new());
        let mut ticket = CancelTicket::default();
        assert!(!cancel.is_cancelled_since(&mut ticket, core::task::Waker::noop()));
        let other = thread::spawn({
            let cancel = Arc::clone(&cancel);
            move || {
                cancel.cancel();
                cancel.reset();
            }
        });
        block_on(poll_fn(|cx| match cancel.is_cancelled_since(&mut ticket, cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }));
        cancel.cancel_wait(&mut ticket);
        other.join().unwrap();
    });
}
