use aimdb_core::RecordKey;

#[derive(RecordKey)]
enum Key {
    #[key = "temp.indoor"]
    Indoor,
    #[key = "temp.indoor"]
    Outdoor,
}

fn main() {}
