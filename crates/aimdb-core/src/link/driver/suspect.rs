//! Which of our own messages the peer ends its connections for.

use alloc::vec::Vec;
use core::time::Duration;

use crate::clock::Instant;

/// How many connections have to end with one thing alone under way before it is given up.
const ATTEMPTS: u8 = 3;

/// How long a thing is not tried again after it was given up for the first time. The time doubles up to the longest.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// Finds the message or request for which a peer ends its connections.
///
/// A connection that ends early has a reason, and it may be something that was sent over it. On the next connection the
/// connector sends one thing at a time, each after the proof that the peer has read the one before it and stays. If
/// three connections end with the same thing alone under way, it is guilty: it is given up, and the others go on.
///
/// `T` names a thing: the index of a link, for instance. A thing is on probation from an early end until it is proven.
///
/// ```
/// use aimdb_core::Instant;
/// use aimdb_core::link::driver::Suspects;
/// use std::time::Duration;
///
/// let second = |second: u64| Instant::from_nanos(second * 1_000_000_000);
/// let mut suspects = Suspects::new(Duration::from_secs(10));
/// suspects.sent(1);
/// suspects.sent(2);
/// assert_eq!(suspects.ended(Duration::from_secs(1), None), None);
/// assert!(suspects.is_cautious());
///
/// suspects.proven(1);
/// for at in [2, 3, 4] {
///     let guilty = suspects.ended(Duration::from_secs(1), Some(2));
///     assert_eq!(guilty, (at == 4).then_some(2));
/// }
/// suspects.give_up(2, true, second(4));
/// assert_eq!(suspects.rests_until(2), Some(second(4 + 5)));
/// ```
#[derive(Debug)]
pub struct Suspects<T> {
    /// A connection that lasts as long has proven everything that was sent over it.
    proof: Duration,
    /// Sent over the present connection.
    sent: Vec<T>,
    /// Sent over a connection that ended early, and not proven since.
    probation: Vec<T>,
    /// Alone under way when a connection ended, and how often.
    accused: Vec<(T, u8)>,
    resting: Vec<Rest<T>>,
}

#[derive(Debug)]
struct Rest<T> {
    thing: T,
    until: Instant,
    last: Duration,
}

impl<T: Copy + PartialEq> Suspects<T> {
    /// No suspects. A connection that lasts for `proof` is beyond suspicion.
    #[must_use]
    pub fn new(proof: Duration) -> Self {
        Self {
            proof,
            sent: Vec::new(),
            probation: Vec::new(),
            accused: Vec::new(),
            resting: Vec::new(),
        }
    }

    /// `thing` is sent over the present connection.
    pub fn sent(&mut self, thing: T) {
        if !self.sent.contains(&thing) {
            self.sent.push(thing);
        }
    }

    /// The peer has read `thing` and stayed: what was held against it is forgotten.
    pub fn proven(&mut self, thing: T) {
        if self.are_any() {
            self.probation.retain(|other| *other != thing);
            self.accused.retain(|(other, _)| *other != thing);
            self.resting.retain(|rest| rest.thing != thing);
        }
    }

    /// The present connection has lasted for `lasted` so far. Returns whether that ended the caution.
    pub fn lasts(&mut self, lasted: Duration) -> bool {
        let ends = lasted >= self.proof && !self.probation.is_empty();
        if ends {
            self.probation.clear();
            self.accused.clear();
        }
        ends
    }

    /// The connection has ended for a known reason that has nothing to do with what was sent.
    pub fn excuse(&mut self) {
        self.sent.clear();
    }

    /// Whether one thing is to be sent at a time.
    #[must_use]
    pub fn is_cautious(&self) -> bool {
        !self.probation.is_empty()
    }

    /// Whether there are suspects, or things that were given up at some time.
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.is_cautious() || !self.resting.is_empty()
    }

    /// Whether a connection has ended with `thing` alone under way, and it is not proven since. It is tried last.
    #[must_use]
    pub fn is_accused(&self, thing: T) -> bool {
        self.accused.iter().any(|(other, _)| *other == thing)
    }

    /// The connection has ended after `lasted`. `alone` is what was under way, in a cautious connection. Returns the
    /// thing that is guilty.
    pub fn ended(&mut self, lasted: Duration, alone: Option<T>) -> Option<T> {
        let sent = core::mem::take(&mut self.sent);
        if lasted >= self.proof && alone.is_none() {
            self.probation.clear();
            self.accused.clear();
            return None;
        }
        for thing in sent.into_iter().chain(alone) {
            if !self.probation.contains(&thing) {
                self.probation.push(thing);
            }
        }
        let thing = alone?;
        let times = match self.accused.iter_mut().find(|(other, _)| *other == thing) {
            Some((_, times)) => {
                *times += 1;
                *times
            }
            None => {
                self.accused.push((thing, 1));
                1
            }
        };
        if times < ATTEMPTS {
            return None;
        }
        self.accused.retain(|(other, _)| *other != thing);
        Some(thing)
    }

    /// Gives up a guilty thing: it rests, for 5 s at first, twice as long each time until it is proven, an hour at most.
    /// With `at_once` from the first time on; without it the first time costs nothing, because what was under way is
    /// given up as well.
    pub fn give_up(&mut self, thing: T, at_once: bool, now: Instant) {
        let first = if at_once { FIRST_REST } else { Duration::ZERO };
        match self.resting.iter_mut().find(|rest| rest.thing == thing) {
            Some(rest) => {
                rest.last = (rest.last * 2).clamp(FIRST_REST, LONGEST_REST);
                rest.until = now + rest.last;
            }
            None => self.resting.push(Rest { thing, until: now + first, last: first }),
        }
    }

    /// Until when `thing`, which was given up, is not tried again.
    #[must_use]
    pub fn rests_until(&self, thing: T) -> Option<Instant> {
        self.resting.iter().find(|rest| rest.thing == thing).map(|rest| rest.until)
    }

    /// Whether `thing` is not tried now.
    #[must_use]
    pub fn rests(&self, thing: T, now: Instant) -> bool {
        !self.resting.is_empty() && self.rests_until(thing).is_some_and(|until| now < until)
    }

    /// When the next thing after `now` may be tried again.
    #[must_use]
    pub fn next_return(&self, now: Instant) -> Option<Instant> {
        self.resting.iter().map(|rest| rest.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn caution_ends_when_all_that_was_sent_is_proven_or_the_connection_lasts() {
        let mut suspects = Suspects::new(PROOF);
        suspects.sent('a');
        suspects.sent('b');
        suspects.ended(SHORT, None);
        suspects.proven('a');
        assert!(suspects.is_cautious());
        suspects.proven('b');
        assert!(!suspects.is_cautious());
        suspects.sent('a');
        suspects.ended(SHORT, None);
        assert!(suspects.is_cautious() && !suspects.lasts(SHORT));
        assert!(suspects.lasts(PROOF) && !suspects.is_cautious());
    }

    #[test]
    fn a_connection_that_lasted_makes_no_suspects() {
        let mut suspects = Suspects::new(PROOF);
        suspects.sent('a');
        assert_eq!(suspects.ended(PROOF, None), None);
        assert!(!suspects.is_cautious());
    }

    #[test]
    fn a_thing_is_innocent_as_soon_as_the_peer_stays_after_it() {
        let mut suspects = Suspects::new(PROOF);
        for _ in 0..2 {
            assert_eq!(suspects.ended(SHORT, Some('a')), None);
        }
        assert!(suspects.is_accused('a'));
        suspects.proven('a');
        assert_eq!(suspects.ended(SHORT, Some('a')), None);
    }

    #[test]
    fn the_rest_doubles_with_each_guilt() {
        let mut suspects = Suspects::new(PROOF);
        let mut now = 0;
        for rest in [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600] {
            for attempt in 1..=3 {
                let guilty = suspects.ended(SHORT, Some('a'));
                assert_eq!(guilty, (attempt == 3).then_some('a'));
            }
            suspects.give_up('a', true, at(now));
            assert!(
                suspects.rests('a', at(now + rest - 1)) && !suspects.rests('a', at(now + rest))
            );
            assert_eq!(suspects.next_return(at(now)), Some(at(now + rest)));
            now += rest;
        }
        assert!(!suspects.rests('b', at(0)));
        suspects.give_up('b', false, at(0));
        assert!(!suspects.rests('b', at(0)));
        suspects.give_up('b', false, at(0));
        assert_eq!(suspects.rests_until('b'), Some(at(5)));
    }
}
