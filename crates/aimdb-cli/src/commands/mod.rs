//! The commands, each a function of a client that prints.

pub(crate) mod doctor;
pub(crate) mod look;
pub(crate) mod ps;
pub(crate) mod set;
pub(crate) mod state;
pub(crate) mod tail;
