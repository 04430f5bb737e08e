use aimdb_core::RecordKey;

#[derive(RecordKey)]
enum Key {
    #[key = "room"]
    Room(u8),
}

fn main() {}
