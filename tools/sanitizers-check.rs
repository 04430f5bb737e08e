//! Bugs that the sanitizers must find. Only `tools/sanitizers` builds and runs this file.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::thread;

struct Unguarded(UnsafeCell<u64>);

// SAFETY: none: this is the bug.
unsafe impl Sync for Unguarded {}

static UNGUARDED: Unguarded = Unguarded(UnsafeCell::new(0));

fn count() {
    // SAFETY: none: two threads access the value at the same time.
    unsafe { *UNGUARDED.0.get() += 1 };
}

fn race() {
    let other = thread::spawn(count);
    count();
    other.join().unwrap();
}

fn use_after_free() {
    let value = black_box(Box::new(7_u64));
    let address: *const u64 = &*value;
    drop(value);
    // SAFETY: none: the value is freed.
    println!("{}", unsafe { address.read_volatile() });
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("race") => race(),
        Some("use-after-free") => use_after_free(),
        other => panic!("no such bug: {other:?}"),
    }
}
