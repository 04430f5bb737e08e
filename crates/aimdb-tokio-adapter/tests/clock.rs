//! One process, several Tokio runtimes, several clocks. A file of its own: the first call of `now` in the process
//! matters.

use std::time::Duration;

use aimdb_core::Runtime;
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::Builder;

#[test]
fn an_advanced_clock_does_not_stop_the_clock_of_a_later_runtime() {
    const HOUR: Duration = Duration::from_secs(3600);
    let paused = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    paused().block_on(async {
        tokio::time::sleep(HOUR).await;
        TokioAdapter.now();
    });
    paused().block_on(async {
        let began = TokioAdapter.now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(TokioAdapter.now() - began, Duration::from_secs(1));
    });
}
