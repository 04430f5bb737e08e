use aimdb_core::RecordKey;

#[derive(RecordKey)]
struct Key;

fn main() {}
