use aimdb_core::RecordKey;

#[derive(RecordKey)]
enum Key {
    #[key("temp.indoor")]
    Indoor,
}

fn main() {}
