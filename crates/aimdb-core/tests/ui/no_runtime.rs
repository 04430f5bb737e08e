use aimdb_core::{AimDbBuilder, BufferCfg};

fn main() {
    let mut builder = AimDbBuilder::new();
    builder.configure::<u32>("temp", |reg| {
        reg.buffer(BufferCfg::SingleLatest);
    });
}
