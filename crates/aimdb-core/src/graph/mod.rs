//! The graph as data: what was registered, what is wrong with it, and how it looks.
//!
//! ```text
//! configure() ──▶ Graph ── check ──▶ Plan ──▶ stages
//!                            └─────▶ Findings
//! ```
//!
//! Registration only writes down; nothing is rejected before everything is known. [`check`](Graph::check) has one
//! function for each rule and returns all findings at once. A [`Plan`] cannot be made in any other way.

pub(crate) mod check;
pub(crate) mod finding;
pub(crate) mod node;
mod order;
mod render;

pub use check::Plan;
pub use finding::Severity;
pub use node::{
    ConnectorNode, InputNode, LinkNode, RecordNode, StageKind, StageNode, StageRole, TypeNode,
};
