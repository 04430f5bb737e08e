use aimdb_core::RecordKey;

#[derive(RecordKey)]
#[key_prefix = "sensor."]
enum Key {
    #[key = ""]
    Indoor,
}

fn main() {}
