//! The allocator: what remains of the data memory after statics, up to a size.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use embedded_alloc::LlffHeap;

#[global_allocator]
static HEAP: Counted = Counted { heap: LlffHeap::empty(), asked: AtomicUsize::new(0) };

struct Counted {
    heap: LlffHeap,
    asked: AtomicUsize,
}

// SAFETY: everything is passed on to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.asked.fetch_add(1, Relaxed);
        // SAFETY: the caller's duties are the heap's.
        unsafe { self.heap.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's duties are the heap's.
        unsafe { self.heap.dealloc(memory, layout) }
    }
}

/// Gives the allocator `bytes` of memory. Before it nothing can be allocated.
///
/// # Panics
///
/// If it is called twice.
pub fn init(bytes: usize) {
    // SAFETY: from the end of the statics to the stack's lower end nobody else owns the memory; the machine has 4 MB of
    // it, which `bytes` and the stack must fit in.
    unsafe { HEAP.heap.init(cortex_m_rt::heap_start() as usize, bytes) };
}

/// Bytes in use.
#[must_use]
pub fn used() -> usize {
    HEAP.heap.used()
}

/// How often memory was asked for since the start.
#[must_use]
pub fn allocations() -> usize {
    HEAP.asked.load(Relaxed)
}
