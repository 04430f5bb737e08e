//! The adapter outside of a Tokio runtime.

use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_tokio_adapter::TokioAdapter;

#[test]
fn the_adapter_outside_of_tokio_is_an_error_and_a_finding() {
    assert_eq!(
        TokioAdapter::new().unwrap_err().to_string(),
        "there is no Tokio runtime here\n  help: call from within one (`#[tokio::main]`), or with `attach()` write `TokioAdapter` instead of `TokioAdapter::new()?`"
    );
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    let line = line!() + 1;
    builder.configure::<u32>("temp", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 4 }).tap(|_, _| async {});
    });
    assert_eq!(
        builder.build().unwrap_err().to_string(),
        format!(
            "the graph has 1 finding; nothing was started\n\n\
             E18 record `temp`: the runtime refused its stage `tap`: there is no Tokio runtime here\n  \
             --> {}:{}:57\n  \
             help: call from within one (`#[tokio::main]`), or with `attach()` write `TokioAdapter` instead of `TokioAdapter::new()?`",
            file!(),
            line + 1
        )
    );
}
