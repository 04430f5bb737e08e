use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_testing::TestRuntime;

fn main() {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
    builder.configure::<u32>(7, |reg| {
        reg.buffer(BufferCfg::SingleLatest);
    });
}
