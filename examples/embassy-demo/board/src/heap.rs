//! The allocator: it uses the data memory after the statics, up to a given size.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use embedded_alloc::LlffHeap;

#[global_allocator]
static HEAP: Counted = Counted { heap: LlffHeap::empty(), allocations: AtomicUsize::new(0) };

struct Counted {
    heap: LlffHeap,
    allocations: AtomicUsize,
}

// SAFETY: every call is forwarded to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.allocations.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is the heap's.
        unsafe { self.heap.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is the heap's.
        unsafe { self.heap.dealloc(memory, layout) }
    }
}

/// Gives the allocator `bytes` of memory. Before this call every allocation fails.
///
/// # Panics
///
/// If it is called twice.
pub fn init(bytes: usize) {
    // SAFETY: no other code uses the memory from the end of the statics to the stack's lower end. The machine has 4 MB, into
    // which `bytes` and the stack must fit.
    unsafe { HEAP.heap.init(cortex_m_rt::heap_start() as usize, bytes) };
}

/// Bytes in use.
#[must_use]
pub fn used() -> usize {
    HEAP.heap.used()
}

/// The number of allocations since the start, failed ones included.
#[must_use]
pub fn allocations() -> usize {
    HEAP.allocations.load(Relaxed)
}
