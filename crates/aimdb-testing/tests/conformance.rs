//! Every suite, on the runtime with the virtual clock.

use std::future::Future;
use std::sync::Arc;

use aimdb_testing::TestRuntime;
use aimdb_testing::buffers::AsyncApi;

fn run<F: Future<Output = ()>>(case: impl FnOnce(Arc<TestRuntime>) -> F) {
    let runtime = Arc::new(TestRuntime::new());
    runtime.block_on(case(Arc::clone(&runtime)));
}

mod buffers {
    use super::*;

    aimdb_testing::buffer_conformance!(AsyncApi(Arc::new(TestRuntime::new())));
}

mod runtime {
    aimdb_testing::runtime_conformance!(super::run);
}

mod engine {
    aimdb_testing::engine_conformance!(super::run);
}
