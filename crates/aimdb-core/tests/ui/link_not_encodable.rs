use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg, Json};
use aimdb_testing::TestRuntime;

#[derive(Clone)]
struct Temperature;

fn main() {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
    builder.configure::<Temperature>("temp", |reg| {
        reg.buffer(BufferCfg::SingleLatest).link_to("mqtt://temp", Json);
    });
}
