//! Calls through C that set and get values of up to 1,024 bytes allocate nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Of this thread: the runtime's has business of its own as it begins.
    static MINE: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: it hands everything on to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MINE.set(MINE.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised; it came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn setting_and_getting_through_c_allocates_nothing() {
    // Handles and lists are made the first time.
    assert_eq!(
        aimdb_ffi_interop::set_and_get(1_000) + aimdb_ffi_interop::set_and_get_typed(1_000),
        0
    );
    let before = MINE.get();
    assert_eq!(aimdb_ffi_interop::set_and_get(20_000), 0);
    assert_eq!(aimdb_ffi_interop::set_and_get_typed(20_000), 0);
    assert_eq!(MINE.get() - before, 0, "allocations in 80,000 calls");
}
