//! What can be wrong with a graph.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A rule of the graph. Its [`code`](Self::code) is stable: it may be searched for and relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Rule {
    /// A record that is used has no buffer.
    NoBuffer,
    /// A ring or a queue of capacity 0.
    ZeroCapacity,
    /// Two buffers on one record.
    TwoBuffers,
    /// One key with two types.
    TwoTypes,
    /// Writers that exclude each other.
    ConflictingWriters,
    /// A transform's input does not exist.
    MissingInput,
    /// A transform's input has another type.
    InputType,
    /// A transform's input has no buffer.
    InputWithoutBuffer,
    /// Records that depend on each other in a circle.
    Cycle,
    /// A join of nothing.
    EmptyJoin,
    /// A link names a connector that does not exist.
    UnknownScheme,
    /// Two connectors with one name.
    TwoConnectors,
    /// A link address that cannot be read.
    BadAddress,
    /// A topic the protocol does not allow there.
    BadTopic,
    /// A link option that is unknown or has an impossible value.
    BadOption,
    /// Several takers on a mailbox that was not declared shared.
    SeveralTakers,
    /// A connector's own configuration.
    BadConnector,
    /// The runtime refused a stage.
    Runtime,
    /// An empty key.
    EmptyKey,
    /// There is no memory for a record's buffer.
    NoMemory,
    /// Nobody in the graph writes the record.
    NoWriter,
    /// Nobody in the graph reads the record.
    NoReader,
}

/// Whether a finding keeps the graph from being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It is logged; handles from outside may make it right.
    Warning,
}

impl Rule {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoBuffer => "E01",
            Self::ZeroCapacity => "E02",
            Self::TwoBuffers => "E03",
            Self::TwoTypes => "E04",
            Self::ConflictingWriters => "E05",
            Self::MissingInput => "E06",
            Self::InputType => "E07",
            Self::InputWithoutBuffer => "E08",
            Self::Cycle => "E09",
            Self::EmptyJoin => "E10",
            Self::UnknownScheme => "E11",
            Self::TwoConnectors => "E12",
            Self::BadAddress => "E13",
            Self::BadTopic => "E14",
            Self::BadOption => "E15",
            Self::SeveralTakers => "E16",
            Self::BadConnector => "E17",
            Self::Runtime => "E18",
            Self::EmptyKey => "E19",
            Self::NoMemory => "E20",
            Self::NoWriter => "W01",
            Self::NoReader => "W02",
        }
    }

    /// Whether its findings have a record, even one without a name.
    const fn is_about_a_record(self) -> bool {
        !matches!(self, Self::TwoConnectors | Self::BadConnector | Self::Runtime | Self::EmptyKey)
    }

    /// Whether it keeps the graph from being built.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::NoWriter | Self::NoReader => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

/// One thing that is wrong: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The record's key; empty for a connector's own fault.
    pub record: String,
    /// What is wrong, with both ends.
    pub problem: String,
    /// What to do.
    pub help: String,
}

impl Finding {
    /// A finding on `record`.
    #[must_use]
    pub fn new(
        rule: Rule,
        record: impl Into<String>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { rule, record: record.into(), problem: problem.into(), help: help.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.rule.code())?;
        if !self.record.is_empty() || self.rule.is_about_a_record() {
            write!(f, "record `{}`: ", self.record)?;
        }
        write!(f, "{}; {}", self.problem, self.help)
    }
}

/// All findings of one check, sorted by record and rule so that the order of registration does not show.
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        let mut findings = super::order::sorted(findings, |a, b| {
            (&a.record, a.rule, &a.problem).cmp(&(&b.record, b.rule, &b.problem))
        });
        findings.dedup();
        Self(findings)
    }

    /// The findings.
    pub fn iter(&self) -> core::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'f> IntoIterator for &'f Findings {
    type Item = &'f Finding;
    type IntoIter = core::slice::Iter<'f, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "finding" } else { "findings" };
        write!(f, "the graph has {count} {noun}; nothing was started")?;
        self.0.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

impl fmt::Debug for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
