//! Handles: numbers in the shape of pointers, so that a freed one is known for what it is.
//!
//! C never looks into what a handle points to, so it need not point anywhere. It is the place of a slot in a table and
//! the slot's generation, which grows when the handle is freed:
//!
//! ```text
//! token   | generation | kind | place + 1 |
//! ```
//!
//! A handle that is NULL, made up, freed (once or twice), or of another kind finds nothing, however late it comes. What
//! cannot be found out is a handle that is freed *while* another thread is in a call with it: looking it up takes no
//! lock and counts nothing, which two atomic operations for each call would cost more than the call. As everywhere in C,
//! that is the caller's to prevent.

use std::cell::UnsafeCell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Bits of place and kind; the others are the generation.
const LOW: u32 = usize::BITS / 2;
const KIND: u32 = 3;
const PLACE: u32 = LOW - KIND;

/// Slots of the first chunk; each further chunk has twice as many. Chunks never move and are never given back.
const FIRST: usize = 32;
const CHUNKS: usize = (PLACE - FIRST.ilog2()) as usize;

/// All handles of one kind.
pub(crate) struct Table<T> {
    kind: usize,
    chunks: [OnceLock<Box<[Slot<T>]>>; CHUNKS],
    vacant: Mutex<Vacant>,
}

struct Slot<T> {
    /// Odd while the slot is taken.
    generation: AtomicUsize,
    value: UnsafeCell<Option<T>>,
}

struct Vacant {
    places: Vec<usize>,
    /// Places beyond this one have never been used.
    fresh: usize,
}

// SAFETY: a value is reached through `get`, by any thread (so `T: Sync`), and moved in and out by whoever makes and frees
// its handle (so `T: Send`). Both are on opposite sides of the generation, which is stored with `Release` after a value
// has come and loaded with `Acquire` before it is looked at.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

impl<T> Table<T> {
    pub(crate) const fn new(kind: usize) -> Self {
        let chunks = [const { OnceLock::new() }; CHUNKS];
        Self { kind, chunks, vacant: Mutex::new(Vacant { places: Vec::new(), fresh: 0 }) }
    }

    /// Takes a value in, and gives its token; `None` when there are as many handles as there can be.
    pub(crate) fn insert(&self, value: T) -> Option<usize> {
        let place = {
            let mut vacant = self.lock();
            vacant.places.pop().or_else(|| {
                let fresh = vacant.fresh;
                vacant.fresh += 1;
                (fresh < (1 << PLACE) - FIRST).then_some(fresh)
            })?
        };
        let (chunk, at) = locate(place);
        let slots =
            self.chunks[chunk].get_or_init(|| (0..FIRST << chunk).map(|_| Slot::new()).collect());
        let slot = &slots[at];
        // SAFETY: the place was vacant and is ours: nobody else looks at a slot whose generation is even.
        unsafe { *slot.value.get() = Some(value) };
        let generation = slot.generation.fetch_add(1, AcqRel) + 1;
        Some((generation << LOW) | (self.kind << PLACE) | (place + 1))
    }

    /// The value of a token.
    ///
    /// # Safety
    ///
    /// The token must not be freed while the reference is in use.
    #[inline]
    pub(crate) unsafe fn get(&self, token: usize) -> Option<&T> {
        let slot = self.slot(token)?;
        if slot.generation.load(Acquire) != token >> LOW {
            return None;
        }
        // SAFETY: the generation is the token's, so the value has come; it does not go while the caller keeps its word.
        unsafe { (*slot.value.get()).as_ref() }
    }

    /// A copy of a token's value, which stays good when the token is freed meanwhile.
    pub(crate) fn lend(&self, token: usize) -> Option<T>
    where
        T: Clone,
    {
        let _nobody_frees = self.lock();
        // SAFETY: freeing takes the same lock.
        unsafe { self.get(token) }.cloned()
    }

    /// Frees a token, and gives its value back. `None` if it is none, or has been freed: of two threads that free it,
    /// one gets the value.
    ///
    /// # Safety
    ///
    /// No reference from [`get`](Self::get) may be in use.
    pub(crate) unsafe fn remove(&self, token: usize) -> Option<T> {
        let slot = self.slot(token)?;
        let mut vacant = self.lock();
        let generation = token >> LOW;
        let freed = generation.wrapping_add(1);
        if slot.generation.compare_exchange(generation, freed, AcqRel, Acquire).is_err() {
            return None;
        }
        // SAFETY: nobody looks, as the caller says, and the exchange succeeds for one thread only.
        let value = unsafe { (*slot.value.get()).take() };
        // Its generations are used up: the place is never used again.
        if freed >> LOW == 0 {
            vacant.places.push((token & ((1 << PLACE) - 1)) - 1);
        }
        value
    }

    fn lock(&self) -> MutexGuard<'_, Vacant> {
        self.vacant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn slot(&self, token: usize) -> Option<&Slot<T>> {
        let place = (token & ((1 << PLACE) - 1)).checked_sub(1)?;
        // The kind, and above it the generation's lowest bit: that of a slot which is taken.
        if token >> PLACE & ((2 << KIND) - 1) != (1 << KIND | self.kind) {
            return None;
        }
        let (chunk, at) = locate(place);
        self.chunks.get(chunk)?.get()?.get(at)
    }
}

impl<T> Slot<T> {
    fn new() -> Self {
        Self { generation: AtomicUsize::new(0), value: UnsafeCell::new(None) }
    }
}

/// The chunk of a place, and where in it.
#[inline]
fn locate(place: usize) -> (usize, usize) {
    let counted = place + FIRST;
    let chunk = counted.ilog2() - FIRST.ilog2();
    (chunk as usize, counted - (FIRST << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Release;

    #[test]
    fn places_fill_one_chunk_after_the_other() {
        let at = [0, 31, 32, 95, 96].map(locate);
        assert_eq!(at, [(0, 0), (0, 31), (1, 0), (1, 63), (2, 0)]);
        assert_eq!(
            locate((1 << PLACE) - FIRST - 1).0,
            CHUNKS - 1,
            "the last place is in the last chunk"
        );
    }

    /// A look at a token's value, and what freeing it gives.
    fn look_and_free(table: &Table<usize>, token: usize) -> (Option<usize>, Option<usize>) {
        // SAFETY: the value is copied before it is freed, on one thread.
        unsafe { (table.get(token).copied(), table.remove(token)) }
    }

    #[test]
    fn a_token_finds_its_value_until_it_is_freed_and_never_again() {
        let table = Table::new(1);
        let tokens: Vec<_> = (0..200).map(|n| table.insert(n).unwrap()).collect();
        for (n, token) in tokens.iter().enumerate() {
            assert_eq!(look_and_free(&table, *token), (Some(n), Some(n)));
            assert_eq!(look_and_free(&table, *token), (None, None));
        }
        // The places are used again, under other tokens.
        let again: Vec<_> = (0..200).map(|n| table.insert(n).unwrap()).collect();
        assert!(tokens.iter().all(|token| look_and_free(&table, *token) == (None, None)));
        assert!(again.iter().all(|token| look_and_free(&table, *token).1.is_some()));
    }

    #[test]
    fn what_is_no_token_or_one_of_another_kind_finds_nothing() {
        let (table, other) = (Table::new(1), Table::new(2));
        let token = table.insert(7).unwrap();
        other.insert(7).unwrap();
        for made_up in [0, 1, 2, usize::MAX, token + 1, token - 1, token ^ (1 << LOW)] {
            assert_eq!(look_and_free(&table, made_up), (None, None), "{made_up:x}");
        }
        assert_eq!(look_and_free(&other, token), (None, None));
    }

    #[test]
    fn a_place_whose_generations_are_used_up_is_not_used_again() {
        let table = Table::new(1);
        let last = (1_usize << LOW) - 1;
        let token = table.insert(1).unwrap();
        table.slot(token).unwrap().generation.store(last, Release);
        let token = (last << LOW) | (token & ((1 << LOW) - 1));
        // SAFETY: one thread.
        assert_eq!(unsafe { table.remove(token) }, Some(1));
        let next = table.insert(2).unwrap();
        assert_ne!(next & ((1 << PLACE) - 1), token & ((1 << PLACE) - 1));
    }

    #[test]
    fn of_threads_that_free_one_token_one_gets_the_value() {
        let table = Table::new(1);
        for n in 0..1000 {
            let token = table.insert(n).unwrap();
            let got: usize = std::thread::scope(|scope| {
                // SAFETY: nobody uses it.
                let both = [(); 2].map(|()| scope.spawn(|| unsafe { table.remove(token) }));
                both.into_iter().filter_map(|one| one.join().unwrap()).count()
            });
            assert_eq!(got, 1);
        }
    }
}
