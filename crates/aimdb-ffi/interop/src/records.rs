//! The records that the C programs share with Rust.

aimdb_ffi::export_record! {
    /// A measured temperature, 32 bytes long.
    pub struct InteropReading as interop_reading, json {
        /// Running number.
        pub number: u64,
        /// Which sensor.
        pub sensor: u32,
        /// Bits of state.
        pub flags: u32,
        /// In degrees Celsius: measured, and allowed.
        pub celsius: [f64; 2],
    }
}

aimdb_ffi::export_record! {
    /// Contains another struct, has fields of odd sizes, and no payloads.
    pub struct InteropBatch as interop_batch {
        /// How many of the readings count.
        pub count: u8,
        /// The readings.
        pub readings: [InteropReading; 2],
        /// A name that ends with a NUL.
        pub name: [i8; 5],
    }
}

aimdb_ffi::export_record! {
    /// Has an alignment of less than 8 bytes.
    pub struct InteropPoint as interop_point {
        /// Three coordinates, so that two values side by side are not both aligned to 8.
        pub at: [f32; 3],
    }
}

/// The header of all records, which the C programs include.
#[must_use]
pub fn records_header() -> String {
    let records =
        [InteropReading::C_DECLARATION, InteropBatch::C_DECLARATION, InteropPoint::C_DECLARATION];
    aimdb_ffi::header("INTEROP_RECORDS_H", &records)
}
