//! Calls through C that set and get values of up to 1,024 bytes allocate nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Allocations of this thread only: the runtime thread allocates as it starts.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: it forwards every call to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: guaranteed by the caller; the pointer is from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn setting_and_getting_through_c_allocates_nothing() {
    // The first calls make the handles and the wait lists.
    assert_eq!(
        aimdb_ffi_interop::set_and_get(1_000) + aimdb_ffi_interop::set_and_get_typed(1_000),
        0
    );
    let before = ALLOCATIONS.get();
    assert_eq!(aimdb_ffi_interop::set_and_get(20_000), 0);
    assert_eq!(aimdb_ffi_interop::set_and_get_typed(20_000), 0);
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations in 80,000 calls");
}
