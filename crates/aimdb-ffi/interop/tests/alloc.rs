//! Calls through C that set and get values of up to 1,024 bytes allocate nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: it hands everything on to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
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
    let before = ALLOCATIONS.load(Relaxed);
    assert_eq!(aimdb_ffi_interop::set_and_get(20_000), 0);
    assert_eq!(aimdb_ffi_interop::set_and_get_typed(20_000), 0);
    // Of the whole process; the runtime's thread has just begun, and may have had business of its own.
    let count = ALLOCATIONS.load(Relaxed) - before;
    assert!(count < 10, "{count} allocations in 80,000 calls");
}
