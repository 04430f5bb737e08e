//! Handle tables: handles are numbers in the shape of pointers, so that a freed handle is recognised.
//!
//! C never dereferences a handle, so a handle need not point to memory. It packs the index of a slot in a table, the type
//! tag of the table, and the generation of the slot. Inserting a value and freeing its handle each add 1 to the generation:
//!
//! ```text
//! handle  | generation | tag | index + 1 |
//! ```
//!
//! A lookup fails for a handle that is NULL, made up, freed (once or twice), or of another type, however late it happens. A
//! lookup cannot detect a handle that another thread frees *during* a call: the lookup takes no lock and counts no reference,
//! because two atomic read-modify-writes per call would cost more than the call itself. As everywhere in C, the caller must
//! prevent that.

use std::cell::UnsafeCell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Bits of index and tag together; the other half of the handle is the generation.
const LOW_BITS: u32 = usize::BITS / 2;
const TAG_BITS: u32 = 3;
const INDEX_BITS: u32 = LOW_BITS - TAG_BITS;

/// Slots of the first chunk; each further chunk has twice as many. Chunks never move and are never deallocated.
const FIRST_CHUNK: usize = 32;
const CHUNKS: usize = (INDEX_BITS - FIRST_CHUNK.ilog2()) as usize;

/// All handles of one type.
pub(crate) struct Table<T> {
    tag: usize,
    chunks: [OnceLock<Box<[Slot<T>]>>; CHUNKS],
    free_list: Mutex<FreeList>,
}

struct Slot<T> {
    /// Odd while the slot holds a value.
    generation: AtomicUsize,
    value: UnsafeCell<Option<T>>,
}

struct FreeList {
    /// Indices of slots that were freed and may be used again.
    indices: Vec<usize>,
    /// The lowest index that has never been used.
    next_unused: usize,
}

// SAFETY: any thread may read a value through `get` (so `T: Sync`), and the threads that insert and remove it move it (so
// `T: Send`). The generation separates the two: `insert` publishes a written value with the `Release` half of its
// `fetch_add`, which pairs with the `Acquire` load in `get`.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

impl<T> Table<T> {
    /// Makes an empty table whose handles carry `tag`, at most 7.
    pub(crate) const fn new(tag: usize) -> Self {
        let chunks = [const { OnceLock::new() }; CHUNKS];
        let free_list = Mutex::new(FreeList { indices: Vec::new(), next_unused: 0 });
        Self { tag, chunks, free_list }
    }

    /// Stores a value and returns its handle, or `None` if every index is in use.
    pub(crate) fn insert(&self, value: T) -> Option<usize> {
        let index = self.lock_free_list().reserve()?;
        let (chunk, offset) = locate(index);
        let slots = self.chunks[chunk]
            .get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| Slot::new()).collect());
        let slot = &slots[offset];
        // SAFETY: the index was reserved for this call, and `get` and `remove` do not touch a slot whose generation is even.
        unsafe { *slot.value.get() = Some(value) };
        // The `Release` half pairs with the `Acquire` load in `get`.
        let generation = slot.generation.fetch_add(1, AcqRel) + 1;
        Some((generation << LOW_BITS) | (self.tag << INDEX_BITS) | (index + 1))
    }

    /// Returns the value of a handle.
    ///
    /// # Safety
    ///
    /// The handle must not be freed while the reference is in use.
    #[inline]
    pub(crate) unsafe fn get(&self, handle: usize) -> Option<&T> {
        let slot = self.slot(handle)?;
        // Pairs with the `Release` half of the `fetch_add` in `insert`.
        if slot.generation.load(Acquire) != handle >> LOW_BITS {
            return None;
        }
        // SAFETY: the slot has the generation of the handle, so its value is written, and it stays because the caller does
        // not free the handle.
        unsafe { (*slot.value.get()).as_ref() }
    }

    /// Returns a clone of a handle's value, which stays valid if the handle is freed afterwards.
    pub(crate) fn get_cloned(&self, handle: usize) -> Option<T>
    where
        T: Clone,
    {
        // `remove` takes the same lock.
        let _no_removal = self.lock_free_list();
        // SAFETY: no handle is freed while the lock is held.
        unsafe { self.get(handle) }.cloned()
    }

    /// Frees a handle and returns its value, or `None` if the handle is invalid or freed already. Of two threads that free
    /// one handle, exactly one receives the value.
    ///
    /// # Safety
    ///
    /// No reference from [`get`](Self::get) may be in use.
    pub(crate) unsafe fn remove(&self, handle: usize) -> Option<T> {
        let slot = self.slot(handle)?;
        let mut free_list = self.lock_free_list();
        let generation = handle >> LOW_BITS;
        let freed = generation.wrapping_add(1);
        // The `Acquire` half pairs with the `Release` half of the `fetch_add` in `insert`.
        if slot.generation.compare_exchange(generation, freed, AcqRel, Acquire).is_err() {
            return None;
        }
        // SAFETY: the caller guarantees that no reference is in use, and the exchange succeeds for one thread only.
        let value = unsafe { (*slot.value.get()).take() };
        // The free list does not take a slot that has used up its generations: its next handle would equal its first one.
        if freed >> LOW_BITS == 0 {
            free_list.indices.push((handle & ((1 << INDEX_BITS) - 1)) - 1);
        }
        value
    }

    fn lock_free_list(&self) -> MutexGuard<'_, FreeList> {
        self.free_list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn slot(&self, handle: usize) -> Option<&Slot<T>> {
        let index = (handle & ((1 << INDEX_BITS) - 1)).checked_sub(1)?;
        // The tag, and above it the lowest bit of the generation, which is 1 in every valid handle.
        if handle >> INDEX_BITS & ((2 << TAG_BITS) - 1) != (1 << TAG_BITS | self.tag) {
            return None;
        }
        let (chunk, offset) = locate(index);
        self.chunks.get(chunk)?.get()?.get(offset)
    }
}

impl FreeList {
    fn reserve(&mut self) -> Option<usize> {
        self.indices.pop().or_else(|| {
            let index = self.next_unused;
            self.next_unused += 1;
            (index < (1 << INDEX_BITS) - FIRST_CHUNK).then_some(index)
        })
    }
}

impl<T> Slot<T> {
    fn new() -> Self {
        Self { generation: AtomicUsize::new(0), value: UnsafeCell::new(None) }
    }
}

/// Returns the chunk of an index and the offset in that chunk.
#[inline]
fn locate(index: usize) -> (usize, usize) {
    let shifted = index + FIRST_CHUNK;
    let chunk = shifted.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, shifted - (FIRST_CHUNK << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Release;

    #[test]
    fn indices_fill_one_chunk_after_the_other() {
        let at = [0, 31, 32, 95, 96].map(locate);
        assert_eq!(at, [(0, 0), (0, 31), (1, 0), (1, 63), (2, 0)]);
        assert_eq!(
            locate((1 << INDEX_BITS) - FIRST_CHUNK - 1).0,
            CHUNKS - 1,
            "the last index is in the last chunk"
        );
    }

    /// Looks a handle up, then frees it, and returns both results.
    fn get_and_remove(table: &Table<usize>, handle: usize) -> (Option<usize>, Option<usize>) {
        // SAFETY: the value is copied before it is freed, on one thread.
        unsafe { (table.get(handle).copied(), table.remove(handle)) }
    }

    #[test]
    fn a_handle_finds_its_value_until_it_is_freed_and_never_again() {
        let table = Table::new(1);
        let handles: Vec<_> = (0..200).map(|n| table.insert(n).unwrap()).collect();
        for (n, handle) in handles.iter().enumerate() {
            assert_eq!(get_and_remove(&table, *handle), (Some(n), Some(n)));
            assert_eq!(get_and_remove(&table, *handle), (None, None));
        }
        // The table uses the indices again, under other handles.
        let again: Vec<_> = (0..200).map(|n| table.insert(n).unwrap()).collect();
        assert!(handles.iter().all(|handle| get_and_remove(&table, *handle) == (None, None)));
        assert!(again.iter().all(|handle| get_and_remove(&table, *handle).1.is_some()));
    }

    #[test]
    fn a_made_up_handle_or_one_of_another_type_finds_nothing() {
        let (table, other) = (Table::new(1), Table::new(2));
        let handle = table.insert(7).unwrap();
        other.insert(7).unwrap();
        for made_up in [0, 1, 2, usize::MAX, handle + 1, handle - 1, handle ^ (1 << LOW_BITS)] {
            assert_eq!(get_and_remove(&table, made_up), (None, None), "{made_up:x}");
        }
        assert_eq!(get_and_remove(&other, handle), (None, None));
    }

    #[test]
    fn a_slot_whose_generations_are_used_up_is_not_used_again() {
        let table = Table::new(1);
        let last = (1_usize << LOW_BITS) - 1;
        let handle = table.insert(1).unwrap();
        table.slot(handle).unwrap().generation.store(last, Release);
        let handle = (last << LOW_BITS) | (handle & ((1 << LOW_BITS) - 1));
        // SAFETY: one thread.
        assert_eq!(unsafe { table.remove(handle) }, Some(1));
        let next = table.insert(2).unwrap();
        assert_ne!(next & ((1 << INDEX_BITS) - 1), handle & ((1 << INDEX_BITS) - 1));
    }

    #[test]
    fn of_two_threads_that_free_one_handle_one_receives_the_value() {
        let table = Table::new(1);
        for n in 0..1000 {
            let handle = table.insert(n).unwrap();
            let got: usize = std::thread::scope(|scope| {
                // SAFETY: no reference to the value exists.
                let both = [(); 2].map(|()| scope.spawn(|| unsafe { table.remove(handle) }));
                both.into_iter().filter_map(|one| one.join().unwrap()).count()
            });
            assert_eq!(got, 1);
        }
    }
}
