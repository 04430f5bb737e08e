use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_testing::TestRuntime;

struct Temperature;

fn main() {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
    builder.configure::<Temperature>("temp", |reg| {
        reg.buffer(BufferCfg::SingleLatest);
    });
}
