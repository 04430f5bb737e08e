//! A line of those who wait for something that only this crate knows of.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// First come, first woken. Whoever is woken has left the line. Waking happens outside of the lock.
#[derive(Default)]
pub(crate) struct Wakers(Mutex<Line>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<(u64, Waker)>,
    last_number: u64,
}

/// A number in the line, if it has been drawn.
pub(crate) type Place = Option<u64>;

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the line, or stays where `place` is. The caller must look once more for what it waits for before it sleeps.
    pub(crate) fn wait(&self, place: &mut Place, waker: &Waker) {
        let mut line = self.lock();
        let here = |(number, _): &&mut (u64, Waker)| Some(*number) == *place;
        if let Some((_, known)) = line.waiting.iter_mut().find(here) {
            known.clone_from(waker);
            return;
        }
        line.last_number += 1;
        let number = line.last_number;
        line.waiting.push_back((number, waker.clone()));
        *place = Some(number);
    }

    /// Leaves the line. `false` if the owner had been woken, so that somebody else must be if it makes no use of that.
    pub(crate) fn leave(&self, place: &mut Place) -> bool {
        let Some(number) = place.take() else { return true };
        let mut line = self.lock();
        let at = line.waiting.iter().position(|(waiting, _)| *waiting == number);
        let left = at.and_then(|at| line.waiting.remove(at));
        drop(line);
        left.is_some()
    }

    pub(crate) fn wake_one(&self) {
        let first = self.lock().waiting.pop_front();
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }

    pub(crate) fn wake_all(&self) {
        let all = mem::take(&mut self.lock().waiting);
        all.into_iter().for_each(|(_, waker)| waker.wake());
    }
}
