use aimdb_core::AimDbBuilder;

fn main() {
    let _ = AimDbBuilder::new().build();
}
