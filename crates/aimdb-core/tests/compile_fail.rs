//! Mistakes that do not compile, and the compiler's messages.
//!
//! `TRYBUILD=overwrite cargo test -p aimdb-core --test compile_fail -- --ignored` renews the `.stderr` files. Read the difference
//! before you commit it.
#![cfg(not(aimdb_loom))]

#[test]
#[ignore = "it builds the crate anew; `.ci/run` runs it"]
fn mistakes_are_explained_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
