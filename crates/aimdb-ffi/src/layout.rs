//! How a value looks to C.

/// How a record's values are passed to C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As bytes, this many per value.
    Bytes(usize),
    /// As a JSON string.
    Json,
}

impl Layout {
    /// Bytes per value; 0 for JSON.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Bytes(size) => size,
            Self::Json => 0,
        }
    }
}
