//! How much a file outlives.

/// The end that a written value outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A kill of the process. A power cut may take the last moments, and damages nothing. SQLite's `synchronous = NORMAL`.
    Kill,
    /// A power cut, too: each batch waits for the disk. SQLite's `synchronous = FULL`.
    PowerCut,
}
