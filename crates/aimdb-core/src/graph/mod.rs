//! The graph as data: what was registered, what is wrong with it, and how it looks.
//!
//! ```text
//! configure() ──▶ Graph ── check ──▶ Plan ──▶ stages
//!                            └─────▶ Findings
//! ```
//!
//! Registration only collects; nothing is rejected before everything is known. [`check`](crate::Graph::check) has one function
//! for each rule and returns all findings at once. A [`Plan`] cannot be made in any other way.
//!
//! A finding prints as a headline, the places of registration (with the feature `std`), and the remedy:
//!
//! ```text
//! E06 record `temp.report`: its transform `transform` reads `temp.celsus`, which does not exist
//!   --> src/main.rs:14:14
//!   help: configure it: `builder.configure::<f32>("temp.celsus", …)`; did you mean `temp.celsius`?
//! ```

pub(crate) mod check;
pub(crate) mod finding;
pub(crate) mod location;
pub(crate) mod node;
mod order;
mod render;
mod sort;

pub use check::Plan;
pub use finding::Severity;
pub use location::{Location, Locations};
pub use node::{
    BufferNode, ConnectorNode, LinkNode, NameNode, PortNode, RecordNode, StageKind, StageNode,
    StageRole, TypeNode,
};
