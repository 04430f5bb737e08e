//! Run with `examples/ffi/run`.
//!
//! AimDB as a library for C and C++, with a record type that Rust defines and all three share by value. The library has
//! the functions of `aimdb.h` and those of `include/workshop.h`; a program links it *instead of* `aimdb-ffi`'s, because
//! handles of one library are none to the other.

aimdb_ffi::export_record! {
    /// A measured temperature.
    pub struct Reading as reading, json {
        /// Which sensor.
        pub sensor: u32,
        /// In degrees Celsius.
        pub celsius: f32,
    }
}
