//! Every suite, on Tokio: on one thread with a paused clock, and on several threads with a running clock.

use std::future::Future;
use std::sync::Arc;

use aimdb_testing::buffers::AsyncApi;
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::{Builder, Runtime};

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn many_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn on_one_thread<F: Future<Output = ()>>(case: impl FnOnce(Arc<TokioAdapter>) -> F) {
    paused().block_on(async { case(adapter()).await });
}

fn on_many_threads<F: Future<Output = ()>>(case: impl FnOnce(Arc<TokioAdapter>) -> F) {
    many_threads().block_on(async { case(adapter()).await });
}

fn adapter() -> Arc<TokioAdapter> {
    Arc::new(TokioAdapter::new().unwrap())
}

fn in_tokio(case: impl FnOnce()) {
    paused().block_on(async { case() });
}

mod buffers {
    use super::*;

    aimdb_testing::buffer_conformance!(AsyncApi(adapter()), around = in_tokio);
}

mod runtime_on_one_thread {
    aimdb_testing::runtime_conformance!(super::on_one_thread);
}

mod runtime_on_many_threads {
    aimdb_testing::runtime_conformance!(super::on_many_threads);
}

mod engine_on_one_thread {
    aimdb_testing::engine_conformance!(super::on_one_thread);
}

mod engine_on_many_threads {
    aimdb_testing::engine_conformance!(super::on_many_threads);
}
