//! The names of the stages that store.

pub(crate) const RESTORE: &str = "store newest";
pub(crate) const HISTORY: &str = "store history";
