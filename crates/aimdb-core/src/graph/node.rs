//! The graph as data.

use alloc::string::String;
use alloc::vec::Vec;
use core::any::TypeId;
use core::fmt;

use super::finding::Finding;
use crate::address::Address;
use crate::buffer::cfg::BufferCfg;

/// Everything that was registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Graph {
    /// One entry for each key and type, in the order of registration.
    pub records: Vec<RecordNode>,
    /// The connectors.
    pub connectors: Vec<ConnectorNode>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RecordNode {
    /// Its key.
    pub key: String,
    /// Its type.
    pub value: TypeNode,
    /// The buffers declared for it: one, if the graph is valid.
    pub buffers: Vec<BufferCfg>,
    /// Whether several takers may divide a mailbox's commands.
    pub shared: bool,
    /// The stages that write or read it.
    pub stages: Vec<StageNode>,
}

/// A Rust type. Compared by identity, shown by name.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TypeNode {
    #[cfg_attr(feature = "serde", serde(skip))]
    id: TypeId,
    /// The full name, for instance `sensors::Temperature`, or what it is [called](crate::Registrar::type_name) instead.
    pub name: &'static str,
}

impl PartialEq for TypeNode {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for TypeNode {}

impl TypeNode {
    /// The node of `T`.
    #[must_use]
    pub fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: core::any::type_name::<T>() }
    }

    /// The last part of the name, without its modules.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        last_segment(self.name)
    }
}

/// One stage of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StageNode {
    /// Its name: the function's, or the kind with a number.
    pub name: String,
    /// What it does.
    pub kind: StageKind,
}

/// What a stage does with its record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum StageKind {
    /// Writes it.
    Source,
    /// Reads it.
    Tap,
    /// Writes it from other records.
    Transform {
        /// The records it reads. More than one is a join.
        inputs: Vec<InputNode>,
        /// Registered as a join, with however many inputs.
        join: bool,
    },
    /// Sends it to a broker.
    LinkTo {
        /// Where to.
        address: LinkNode,
    },
    /// Receives it from a broker.
    LinkFrom {
        /// Where from.
        address: LinkNode,
    },
}

/// The kind of a stage, without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(missing_docs, reason = "explained at StageKind")]
pub enum StageRole {
    Source,
    Tap,
    Transform,
    Connector,
}

/// A record that a transform reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct InputNode {
    /// The record's key.
    pub key: String,
    /// The type the transform expects.
    pub value: TypeNode,
}

/// A link's address: parsed, or what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LinkNode {
    /// As it was written.
    pub text: String,
    /// As it was understood.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub parsed: Result<Address, String>,
    /// The topic is computed from each value; the address names none.
    pub computed_topic: bool,
}

/// A connector, and what it says of its own configuration and of its links.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ConnectorNode {
    /// The scheme that links use to name it.
    pub name: String,
    /// What it is and where it connects to, without secrets.
    pub description: String,
    /// What it refused. The record is empty where the fault is its own.
    pub faults: Vec<Finding>,
}

impl RecordNode {
    /// Moves everything out of it that is not copied anyway.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            key: core::mem::take(&mut self.key),
            value: self.value,
            buffers: core::mem::take(&mut self.buffers),
            shared: self.shared,
            stages: core::mem::take(&mut self.stages),
        }
    }

    /// Stages that write it.
    pub fn writers(&self) -> impl Iterator<Item = &StageNode> {
        self.stages.iter().filter(|stage| stage.kind.writes())
    }

    /// Stages that take from it, transforms of other records not included.
    pub fn readers(&self) -> impl Iterator<Item = &StageNode> {
        self.stages.iter().filter(|stage| !stage.kind.writes())
    }
}

impl StageKind {
    /// Whether it writes its record; otherwise it reads it.
    #[must_use]
    pub const fn writes(&self) -> bool {
        matches!(self, Self::Source | Self::Transform { .. } | Self::LinkFrom { .. })
    }

    /// The records it reads besides its own.
    #[must_use]
    pub fn inputs(&self) -> &[InputNode] {
        match self {
            Self::Transform { inputs, .. } => inputs,
            _ => &[],
        }
    }

    /// The link, if it is one.
    #[must_use]
    pub const fn link(&self) -> Option<&LinkNode> {
        match self {
            Self::LinkTo { address } | Self::LinkFrom { address } => Some(address),
            _ => None,
        }
    }
}

impl fmt::Display for StageRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Tap => "tap",
            Self::Transform => "transform",
            Self::Connector => "connector",
        })
    }
}

/// `a::b::C` → `C`, also inside `Vec<a::b::C>`.
pub(crate) fn last_segment(path: &str) -> &str {
    let name = path.bytes().take_while(|&c| c != b'<');
    let mut begin = 0;
    for (at, c) in name.enumerate() {
        if c == b':' {
            begin = at + 1;
        }
    }
    path.get(begin..).unwrap_or(path)
}
