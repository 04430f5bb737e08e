//! Transforms and processors: the stages that make records from others.
//!
//! Their types appear in the bounds of [`Registrar`](crate::Registrar)'s methods. Transforms are futures written by hand, so
//! that a runtime's [`Spawn`](crate::Spawn) bound can name them and the engine boxes none of them.

pub(crate) mod for_each;
pub(crate) mod input;
pub(crate) mod join;
pub(crate) mod map;
mod output;
pub(crate) mod processor;

pub use crate::engine::restart::{
    Attempts, OneHandle, Restarting, Resumable, Resuming, TwoHandles,
};
pub use crate::engine::result::StageResult;
pub use crate::engine::stage::Stage;
pub use crate::link::pool::{ConnectorAttempt, ConnectorAttempts};
pub use for_each::ForEach;
pub use input::Inputs;
pub use join::{Combined, JoinInputs, JoinReaders, JoinStage, JoinStep, OuterCombined};
pub use map::{Filtered, MapStage, Mapped, Scanned, Step};
pub use processor::{OutputRecords, ProcessorInputs, ProcessorOutputs};
