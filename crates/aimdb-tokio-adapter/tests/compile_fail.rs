//! Mistakes that do not compile, and what the compiler says about them.
//!
//! `TRYBUILD=overwrite cargo test -p aimdb-tokio-adapter --test compile_fail` renews the `.stderr` files; read the
//! difference before committing it.

#[test]
fn mistakes_are_explained_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
