use std::rc::Rc;
use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_testing::TestRuntime;

fn main() {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
    builder.configure::<u32>("temp", |reg| {
        reg.buffer(BufferCfg::SingleLatest).tap(|_ctx, temp| async move {
            let seen = Rc::new(0);
            let mut reader = temp.subscribe().unwrap();
            let _ = reader.recv().await;
            drop(seen);
        });
    });
}
