//! Run with `examples/ffi/run`.
//!
//! AimDB as a library for C and C++, with a struct that Rust defines and the three languages share by value. The library has the
//! functions of `aimdb.h` and those of `include/workshop.h`. A program links it *instead of* `aimdb-ffi`'s own library, because
//! a handle of one library is not valid in another.

aimdb_ffi::export_record! {
    /// A measured temperature.
    pub struct Reading as reading, json {
        /// Which sensor.
        pub sensor: u32,
        /// In degrees Celsius.
        pub celsius: f32,
    }
}
