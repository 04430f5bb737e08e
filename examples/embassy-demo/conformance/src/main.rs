//! Run with `tools/firmware run conformance`.
//!
//! The suites that the Tokio adapter passes on the host, case by case: buffers, runtime, engine. The firmware prints each
//! case before it runs; a case that fails panics, which ends QEMU with status 1.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::sync::Arc;

use aimdb_embassy_adapter::{EmbassyAdapter, sink};
use aimdb_testing::buffers::AsyncApi;
use board::console;
use embassy_executor::Spawner;

#[cortex_m_rt::entry]
fn main() -> ! {
    // The adapter never frees the memory of a task, and the suites start hundreds of tasks.
    board::heap::init(2 * 1024 * 1024);
    board::executor::run(|spawner| spawner.spawn(suites(spawner).expect("the first task")))
}

#[embassy_executor::task]
async fn suites(spawner: Spawner) {
    let runtime = Arc::new(EmbassyAdapter::new(spawner, sink::none));
    let mut cases = 0;
    let mut report = |suite: &str, case: &str| {
        console::line(format_args!("{suite}::{case}"));
        cases += 1;
    };
    let api = AsyncApi(Arc::clone(&runtime));
    aimdb_testing::buffers::run_all(&api, &mut |case| report("buffers", case));
    aimdb_testing::runtime::run_all(Arc::clone(&runtime), &mut |case| report("runtime", case))
        .await;
    aimdb_testing::engine::run_all(runtime, &mut |case| report("engine", case)).await;
    console::line(format_args!("{cases} cases passed"));
    console::exit(0)
}
