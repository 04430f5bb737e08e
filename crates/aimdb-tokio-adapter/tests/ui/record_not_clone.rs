use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_tokio_adapter::TokioAdapter;

struct Temperature;

fn main() {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<Temperature>("temp", |reg| {
        reg.buffer(BufferCfg::SingleLatest);
    });
}
