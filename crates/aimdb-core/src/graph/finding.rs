//! Findings: the rules of a graph, and what breaks them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::location::{Location, Locations};

/// A rule that a graph has to follow.
///
/// Its [`code`](Self::code) is stable: programs may rely on it, and people may search for it. The order of the rules is
/// the order in which findings on one record are listed.
///
/// ```
/// use aimdb_core::graph::{RecordNode, TypeNode};
/// use aimdb_core::{Graph, Rule};
///
/// let mut graph = Graph::default();
/// graph.records.push(RecordNode::new("temp.indoor", TypeNode::of::<f32>()));
/// let findings = graph.check().unwrap_err();
/// let rules: Vec<Rule> = findings.iter().map(|finding| finding.rule).collect();
/// assert_eq!(rules, [Rule::NoBuffer]);
/// assert_eq!(Rule::NoBuffer.code(), "E01");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Rule {
    /// A record has no buffer.
    NoBuffer,
    /// A ring or a queue has the capacity 0.
    ZeroCapacity,
    /// A record has several buffers.
    TwoBuffers,
    /// A key is configured with several types.
    TwoTypes,
    /// A record has writers that exclude each other.
    ConflictingWriters,
    /// An input or an output of a stage does not exist.
    MissingInput,
    /// An input or an output of a stage has another type.
    InputType,
    /// An input or an output of a stage has no buffer.
    InputWithoutBuffer,
    /// Records depend on each other in a cycle.
    Cycle,
    /// A join or a processor has no inputs.
    EmptyJoin,
    /// A link names a connector that does not exist.
    UnknownScheme,
    /// Several connectors have one name.
    TwoConnectors,
    /// A link address cannot be parsed.
    BadAddress,
    /// The protocol does not allow this topic on this link.
    BadTopic,
    /// A link option is unknown or has an invalid value.
    BadOption,
    /// A mailbox has several takers and is not declared shared.
    SeveralTakers,
    /// A connector's own configuration is invalid.
    BadConnector,
    /// The runtime refused a stage.
    Runtime,
    /// A record's key is empty.
    EmptyKey,
    /// There is no memory for a record's buffer.
    NoMemory,
    /// A name that was set with [`named`](crate::Registrar::named) is empty, is taken, or follows no stage.
    StageName,
    /// A record has several initial values.
    TwoInitialValues,
    /// The connector does not serve links in this direction.
    LinkDirection,
    /// A processor names a record twice among its outputs.
    RepeatedOutput,
    /// A record is exposed several times.
    TwoExposures,
    /// Several services have one name.
    TwoServices,
    /// A service's own configuration is invalid, or the graph lacks what it expects.
    BadService,
    /// No stage of the graph writes the record.
    NoWriter,
    /// No stage of the graph reads the record.
    NoReader,
    /// A queue without a reader in the graph has an initial value.
    LostInitialValue,
    /// A queue is read by an outbound link and by another stage, which waits with it while the peer is away.
    LinkedQueue,
}

/// Whether a finding prevents the build.
///
/// ```
/// use aimdb_core::graph::Severity;
/// use aimdb_core::{Finding, Rule};
///
/// /// Whether a connector's findings prevent the build, for a test of the connector.
/// fn refuses(findings: &[Finding]) -> bool {
///     findings.iter().any(|finding| finding.rule.severity() == Severity::Error)
/// }
///
/// let finding = Finding::new(Rule::BadTopic, "pump", "its topic is empty", "name a topic");
/// assert!(refuses(&[finding]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Severity {
    /// The graph is not built.
    Error,
    /// The graph is built and the finding is logged. Handles outside of the graph may be the missing part.
    Warning,
}

impl Rule {
    /// The stable code: `E01`, …, or `W01`, … for a warning.
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
            Self::StageName => "E21",
            Self::TwoInitialValues => "E22",
            Self::LinkDirection => "E23",
            Self::RepeatedOutput => "E24",
            Self::TwoExposures => "E25",
            Self::TwoServices => "E26",
            Self::BadService => "E27",
            Self::NoWriter => "W01",
            Self::NoReader => "W02",
            Self::LostInitialValue => "W03",
            Self::LinkedQueue => "W04",
        }
    }

    /// Whether a finding of this rule has a record, even one with an empty key.
    const fn is_about_a_record(self) -> bool {
        !matches!(
            self,
            Self::TwoConnectors
                | Self::BadConnector
                | Self::Runtime
                | Self::EmptyKey
                | Self::TwoServices
                | Self::BadService
        )
    }

    /// Whether a finding of this rule prevents the build.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::NoWriter | Self::NoReader | Self::LostInitialValue | Self::LinkedQueue => {
                Severity::Warning
            }
            _ => Severity::Error,
        }
    }
}

/// One fault of a graph: the rule, the record, the problem, the remedy.
///
/// `{}` prints a finding on several lines, and `{:#}` on one line for a log:
///
/// ```
/// use aimdb_core::{Finding, Rule};
///
/// let finding = Finding::new(
///     Rule::BadOption,
///     "temp.indoor",
///     "its link `mqtt://t?qos=7` has the option `qos=7`, but `qos` is 0, 1 or 2",
///     "use `qos=1`",
/// );
/// assert_eq!(
///     finding.to_string(),
///     "E15 record `temp.indoor`: its link `mqtt://t?qos=7` has the option `qos=7`, but `qos` is 0, 1 or 2
///   help: use `qos=1`"
/// );
/// assert_eq!(
///     format!("{finding:#}"),
///     "E15 record `temp.indoor`: its link `mqtt://t?qos=7` has the option `qos=7`, but `qos` is 0, 1 or 2; help: use \
///      `qos=1`"
/// );
/// ```
///
/// Each known [location](Self::locations) has a line of its own between the two, `  --> src/main.rs:14:14`.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// The rule that is broken.
    pub rule: Rule,
    /// The record's key; empty for a fault in a connector's own configuration.
    pub record: String,
    /// The problem, with both ends, the expected and the actual.
    pub problem: String,
    /// The remedy. If it is empty, no `help:` is printed.
    pub help: String,
    /// Where the source code registered what is wrong.
    locations: Locations,
}

impl Finding {
    /// A finding on `record`, without a location.
    #[must_use]
    pub fn new(
        rule: Rule,
        record: impl Into<String>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            record: record.into(),
            problem: problem.into(),
            help: help.into(),
            locations: Locations::default(),
        }
    }

    /// The same finding with one more location. An unknown location adds nothing.
    ///
    /// A finding with two ends has two locations: two buffers, two types, a reader and its record.
    #[must_use]
    pub fn at(mut self, location: Location) -> Self {
        self.locations.insert(location);
        self
    }

    /// The same finding with `locations` besides its own.
    pub(crate) fn at_all(mut self, locations: &Locations) -> Self {
        self.locations.merge(locations);
        self
    }

    /// The known locations, each once, sorted by file, line and column.
    #[must_use]
    pub fn locations(&self) -> &[Location] {
        self.locations.as_slice()
    }
}

/// Equal if both say the same, whatever their locations.
impl PartialEq for Finding {
    fn eq(&self, other: &Self) -> bool {
        let Self { rule, record, problem, help, locations: _ } = self;
        *rule == other.rule
            && *record == other.record
            && *problem == other.problem
            && *help == other.help
    }
}

impl Eq for Finding {}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (location_prefix, help_prefix) =
            if f.alternate() { ("; at ", "; help: ") } else { ("\n  --> ", "\n  help: ") };
        write!(f, "{} ", self.rule.code())?;
        if !self.record.is_empty() || self.rule.is_about_a_record() {
            write!(f, "record `{}`: ", self.record)?;
        }
        f.write_str(&self.problem)?;
        for location in &self.locations {
            write!(f, "{location_prefix}{location}")?;
        }
        if self.help.is_empty() {
            return Ok(());
        }
        write!(f, "{help_prefix}{}", self.help)
    }
}

/// All findings of one check, sorted by record and rule.
///
/// The order of registration does not show in them. `Display` prints a headline and one paragraph for each finding.
///
/// ```
/// use aimdb_core::{AimDbBuilder, DbError, Runtime};
///
/// /// Prints each finding as `file:line:column: text`, which editors and CI services understand.
/// fn build_or_annotate<R: Runtime>(builder: AimDbBuilder<R>) {
///     let Err(DbError::Build(findings)) = builder.build() else { return };
///     for finding in &findings {
///         for location in finding.locations() {
///             eprintln!("{location}: {} {}", finding.rule.code(), finding.problem);
///         }
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Sorts the findings. Equal findings become one, with the locations of all.
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        let mut findings = super::sort::sorted(findings, |a, b| {
            (&a.record, a.rule, &a.problem).cmp(&(&b.record, b.rule, &b.problem))
        });
        findings.dedup_by(|duplicate, kept| {
            let equal = duplicate == kept;
            if equal {
                kept.locations.merge(&duplicate.locations);
            }
            equal
        });
        Self(findings)
    }

    /// The findings, one after the other.
    pub fn iter(&self) -> core::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// The number of findings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no findings.
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
        self.0.iter().try_for_each(|finding| write!(f, "\n\n{finding}"))
    }
}

impl fmt::Debug for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
