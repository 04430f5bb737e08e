use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_tokio_adapter::TokioAdapter;

fn main() {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<u32>(7, |reg| {
        reg.buffer(BufferCfg::SingleLatest);
    });
}
