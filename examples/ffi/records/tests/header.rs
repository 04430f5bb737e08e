//! The committed header is the one that this crate generates.
#![allow(missing_docs)]

use std::env;
use std::fs;

use workshop_records::Reading;

#[test]
fn the_committed_header_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/include/workshop.h");
    let generated = aimdb_ffi::header("WORKSHOP_H", &[Reading::C_DECLARATION]);
    if env::var_os("AIMDB_BLESS").is_some() {
        fs::write(path, &generated).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(committed, generated, "write it with AIMDB_BLESS=1");
}
