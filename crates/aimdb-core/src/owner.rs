//! Owners of stages, and the identifiers of stages.

use alloc::string::String;
use core::fmt;

use crate::sync::Arc;

/// The owner of a stage: a record, a connector or a service.
///
/// A record and a connector may have the same name, so a name alone does not identify an owner.
///
/// ```
/// use aimdb_core::Owner;
///
/// let owner = Owner::Record("temp.indoor".into());
/// assert_eq!(owner.name(), "temp.indoor");
/// assert_eq!(owner.to_string(), "record `temp.indoor`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Owner {
    /// A record, by its key.
    Record(#[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))] Arc<str>),
    /// A connector, by its name.
    Connector(#[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))] Arc<str>),
    /// A service that runs alongside the graph, by its name.
    Service(#[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))] Arc<str>),
}

impl Owner {
    /// The record's key, or the name of the connector or service.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Record(name) | Self::Connector(name) | Self::Service(name) => name,
        }
    }

    /// The record's key, if the owner is a record.
    #[must_use]
    pub fn record(&self) -> Option<&str> {
        match self {
            Self::Record(key) => Some(key),
            Self::Connector(_) | Self::Service(_) => None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Record(_) => "record",
            Self::Connector(_) => "connector",
            Self::Service(_) => "service",
        };
        write!(f, "{kind} `{}`", self.name())
    }
}

/// The identifier of a stage: its owner, and its name, unique for that owner.
///
/// It prints as `owner/stage` and can be compared with that text:
///
/// ```
/// use aimdb_core::{Owner, StageId};
///
/// let id = StageId::new(Owner::Record("temp.indoor".into()), "tap");
/// assert_eq!(id, "temp.indoor/tap");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StageId {
    /// The record, connector or service that the stage belongs to.
    pub owner: Owner,
    /// The stage's name in the graph and in the health.
    pub stage: String,
}

impl StageId {
    /// Returns the identifier of the stage `stage` of `owner`.
    #[must_use]
    pub fn new(owner: Owner, stage: impl Into<String>) -> Self {
        Self { owner, stage: stage.into() }
    }
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner.name(), self.stage)
    }
}

impl PartialEq<str> for StageId {
    fn eq(&self, text: &str) -> bool {
        text.strip_prefix(self.owner.name()).and_then(|rest| rest.strip_prefix('/'))
            == Some(&self.stage)
    }
}

impl PartialEq<&str> for StageId {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name)
}
