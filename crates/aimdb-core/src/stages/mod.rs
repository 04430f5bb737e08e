//! Stages that make one record from others. They are futures written by hand, so that a runtime's `Spawn` bound can name
//! them and nothing is boxed.

pub(crate) mod input;
pub(crate) mod join;
pub(crate) mod map;
mod output;

pub use crate::engine::restart::Restarting;
pub use crate::engine::stage::Stage;
pub use input::Inputs;
pub use join::{JoinInputs, JoinReaders, JoinStage};
pub use map::{Filtered, MapStage, Mapped, Scanned, Step};
