//! `Mailbox`: one pending command. The newest replaces an older one; one taker receives it.
//!
//! One [`Slot`] whose state counts the commands. The taker of the pending command counts those that
//! it replaced as lagged.
//!
//! ```text
//!               write                         write: replaced + 1
//!    empty ─────────────▶ command n pending ─────────────────────▶ command n + 1 pending
//!      ▲                          │
//!      └────── take: replaced = 0 ┘   (give_back: pending again, unless a newer one was accepted)
//! ```
//!
//! # Writing
//!
//! A writer claims the slot, asks the [gate](super::gate), replaces the pending command if there is
//! one, and releases the slot. It never waits for a taker to take, only for the few instructions of
//! another claim or the `Clone` of a caller of [`latest`](Mailbox::latest).
//!
//! # Taking
//!
//! Takers compete: the one that claims the full slot moves the command out, without a `Clone`. Its
//! cursor advances by one for each command taken, so a cursor's position is a count here and says
//! nothing about the mailbox.
//!
//! # Closing
//!
//! The closer marks the gate, waits until no writer has the slot, and marks the gate again. A
//! pending command stays for the takers. A taker that returns a stashed command may do so after the
//! close: it adds no command, because the command was accepted before.
//!
//! # Invariants
//!
//! - `READ` is never set: a command that was received is not in the slot any more.
//! - `replaced` is the number of commands replaced since the last one was taken. Exactly one taker
//!   counts each of them as lag.

use super::cursor::{Cursor, CursorGuard, increase};
use super::gate::WriteGate;
use super::kind::{
    BufferState, Kind, ReadOutcome, ReadResult, Receive, ReserveError, WritePermit, Written,
};
use super::slot::{Claim, Slot};
use super::start::Start;
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The storage of a mailbox.
pub(super) struct Mailbox<T> {
    /// The pending command. On a cache line of its own, because every write and every read changes
    /// its word.
    pending: CachePadded<Slot<T>>,
    /// Closes the record. Never paused.
    gate: WriteGate,
    /// The number of commands that were replaced before a taker took them, over the life of the
    /// record. Changed under a claim of the slot, as the next one.
    overwritten: AtomicU64,
    /// Commands replaced since one was taken: the lag that the next taker counts.
    replaced: AtomicU64,
}

impl<T: Clone> Mailbox<T> {
    /// An empty mailbox.
    pub(super) fn new() -> Self {
        Self {
            pending: CachePadded::new(Slot::new()),
            gate: WriteGate::new(),
            overwritten: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
        }
    }

    /// Returns the `written`th command, which a taker took and did not receive: it was in the
    /// taker's stash, behind a reported lag, when the taker left. If a newer command was accepted
    /// since, pending or not, that one replaces it, and this returns the older one for the caller
    /// to drop.
    ///
    /// The caller wakes a taker if this returns `None`. A closed mailbox takes the command back too,
    /// also after other takers were told that it is drained.
    pub(super) fn give_back(&self, value: T, written: u64) -> Option<T> {
        let mut claim = self.pending.claim_any();
        // A newer command, even one that was taken meanwhile, must not be followed by an older one.
        if claim.state().written() != written {
            increase(&self.overwritten, 1);
            increase(&self.replaced, 1);
            return Some(value);
        }
        claim.replace(|| value, written)
    }

    /// A clone of the pending command and its number. Takers and writers wait for the `Clone`.
    pub(super) fn latest(&self) -> Option<(u64, T)> {
        self.pending.claim_any().numbered()
    }
}

/// The right to write the next command. Dropped, it releases the slot as it was.
pub(super) struct MailboxPermit<'m, T> {
    /// The mailbox, for its counts.
    mailbox: &'m Mailbox<T>,
    /// The claim on the slot, with the older command still in it, if one is pending.
    claim: Claim<'m, T>,
}

impl<T> WritePermit<T> for MailboxPermit<'_, T> {
    fn number(&self) -> u64 {
        self.claim.state().written() + 1
    }

    #[inline(always)]
    fn write(self, make: impl FnOnce() -> T) -> Written<T> {
        let Self { mailbox, mut claim } = self;
        let produced = claim.state().written() + 1;
        // The claim still shows the old command.
        let untaken = claim.state().is_full();
        let evicted = claim.replace(make, produced);
        // No taker took it. Both counts change under the claim, so the next taker sees them with
        // its own.
        if untaken {
            increase(&mailbox.overwritten, 1);
            increase(&mailbox.replaced, 1);
        }
        Written { evicted, produced }
    }
}

/// Gives the command of the claimed slot to its taker: moved out, or looked at where it is and left
/// to be dropped. Returns whether there was one. A command at which the look panics stays pending.
#[inline(always)]
fn take_command<T, P: Receive<T>>(
    claim: &mut Claim<'_, T>,
    out: &mut ReadResult<'_, T, P>,
) -> bool {
    if P::BY_REFERENCE {
        let Some(command) = claim.value() else { return false };
        out.place.receive_ref(command);
        out.evicted = claim.empty();
    } else {
        let Some(command) = claim.take() else { return false };
        out.place.receive(command);
    }
    true
}

/// Positions have no meaning in a mailbox: each taker takes the pending command.
impl<T: Clone> BufferState for Mailbox<T> {
    /// The slot counts the commands, those taken included.
    fn produced(&self) -> u64 {
        self.pending.load().written()
    }

    fn overwritten(&self) -> u64 {
        // `Relaxed`: a count.
        self.overwritten.load(Relaxed)
    }

    /// One while a command is pending.
    fn depth(&self, _slowest: Option<u64>) -> usize {
        usize::from(self.pending.load().is_full())
    }

    /// One for each taker while a command is pending, although only one of them can take it.
    fn readable(&self, _next: u64) -> u64 {
        u64::from(self.pending.load().is_full())
    }

    /// None: the taker counts the replaced commands when it takes one, not before.
    fn missed(&self, _next: u64) -> u64 {
        0
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }
}

impl<T: Clone> Kind<T> for Mailbox<T> {
    type Permit<'k>
        = MailboxPermit<'k, T>
    where
        Self: 'k;

    /// Fails also while a taker has the slot.
    #[inline(always)]
    fn try_reserve(&self) -> Option<MailboxPermit<'_, T>> {
        let claim = self.pending.try_claim_to_write()?;
        if self.gate.is_open() { Some(MailboxPermit { mailbox: self, claim }) } else { None }
    }

    /// Waits for the claims of other threads. A gate that is not open refuses writers here, because
    /// no taker pauses it. Never [`ReserveError::Full`].
    fn reserve(
        &self,
        _slowest: impl FnOnce() -> u64,
    ) -> Result<MailboxPermit<'_, T>, ReserveError> {
        match self.pending.claim_any_to_write(|| self.gate.is_refusing()) {
            Some(claim) if self.gate.is_open() => Ok(MailboxPermit { mailbox: self, claim }),
            _ => Err(ReserveError::Closed),
        }
    }

    /// Moves the pending command out. `false` if there is none, if another thread has the slot, or
    /// if commands were replaced: their number belongs into the cursor first, which `read` does.
    #[inline(always)]
    fn try_read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> bool {
        if !self.pending.load().is_full() {
            return false;
        }
        // The taker takes whichever command the slot holds by now.
        let Some(mut claim) = self.pending.try_claim() else { return false };
        // `Relaxed`: the claim orders it.
        if self.replaced.load(Relaxed) > 0 {
            return false;
        }
        // `false` if another taker was faster.
        let taken = take_command(&mut claim, out);
        if taken {
            guard.advance(out.nth);
        }
        taken
    }

    /// The mark is loaded after the slot, as in a ring. A claimed slot may be about to be filled.
    #[inline(always)]
    fn is_dry(&self, _next: u64) -> bool {
        let state = self.pending.load();
        !state.is_full() && !state.is_busy() && !self.is_closed()
    }

    /// Takes the pending command, and waits for other claims of the slot. The replaced commands
    /// count as lag of this taker.
    fn read<P: Receive<T>>(
        &self,
        guard: &mut CursorGuard<'_>,
        out: &mut ReadResult<'_, T, P>,
    ) -> ReadOutcome {
        let mut claim = loop {
            if !self.pending.load().is_full() {
                // No command is written after the close: if none is pending after that, none will
                // be.
                if !self.is_closed() {
                    return ReadOutcome::Empty;
                }
                if !self.pending.load().is_full() {
                    return ReadOutcome::Closed;
                }
            }
            // A command that replaces the one seen above is taken instead.
            let claim = self.pending.claim_any();
            if claim.state().is_full() {
                break claim;
            }
            // Another taker was faster.
        };
        // `Relaxed`, both: the claim orders them.
        let missed = self.replaced.load(Relaxed);
        // The lag moves from the mailbox to the cursor of this taker, which alone reports
        // it.
        if missed > 0 {
            self.replaced.store(0, Relaxed);
            guard.count_lagged(missed);
        }
        out.number = claim.state().written();
        take_command(&mut claim, out);
        guard.advance(out.nth);
        ReadOutcome::Value
    }

    /// The slot's word is the one that every writer changes. A taker sleeps while the slot is
    /// empty.
    fn may_sleep(&self, _next: u64) -> bool {
        self.pending.revalidate().is_some_and(|state| !state.is_full()) && !self.is_closed()
    }

    /// Whether a command is pending for any taker.
    fn has_unread(&self, _cursor: &Cursor) -> Option<bool> {
        // Any taker changes the answer, so the word of one cursor says nothing.
        Some(self.pending.revalidate()?.is_full())
    }

    /// Zero: a cursor counts the commands that its taker took.
    fn start(&self, _start: Option<Start>) -> u64 {
        0
    }

    /// Waits for a writer that has the slot, not for a taker or a `Clone`.
    fn close(&self) {
        self.gate.close(|| self.pending.load_seq_cst().is_being_written());
    }
}
