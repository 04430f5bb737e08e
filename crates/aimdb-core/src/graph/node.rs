//! The nodes of a graph: plain data, one node for each thing that was registered.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::TypeId;
use core::fmt;

use super::finding::Finding;
use super::location::{Location, Locations};
use crate::address::Address;
use crate::buffer::cfg::BufferCfg;

/// A graph as it was registered: all records and connectors, unchecked.
///
/// [`AimDbBuilder::graph`](crate::AimDbBuilder::graph) returns it. [`check`](Self::check) turns it into a
/// [`Plan`](crate::graph::Plan) or into findings. `Display` prints one paragraph for each record;
/// [`mermaid`](Self::mermaid) draws a flowchart.
///
/// Two graphs are equal if they declare the same, wherever in the source code they declare it.
///
/// ```
/// use aimdb_core::graph::{BufferNode, RecordNode, StageKind, StageNode, TypeNode};
/// use aimdb_core::{BufferCfg, Graph};
///
/// let mut record = RecordNode::new("temp.indoor", TypeNode::of::<f32>());
/// record.buffers.push(BufferNode::new(BufferCfg::ring(16)));
/// record.stages.push(StageNode::new("sensor", StageKind::Source));
/// record.stages.push(StageNode::new("logger", StageKind::Tap));
/// let mut graph = Graph::default();
/// graph.records.push(record);
///
/// assert_eq!(
///     graph.to_string(),
///     "temp.indoor  f32  ring of 16\n  ← source sensor\n  → tap logger\n"
/// );
/// assert!(graph.check().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Graph {
    /// One entry for each key and type, in the order of registration.
    pub records: Vec<RecordNode>,
    /// The connectors, in the order of registration.
    pub connectors: Vec<ConnectorNode>,
    /// The services, in the order of registration.
    pub services: Vec<ServiceNode>,
}

/// One record of a graph.
///
/// ```
/// use aimdb_core::{AimDb, Runtime};
///
/// fn print_readers<R: Runtime>(db: &AimDb<R>) {
///     for record in &db.graph().records {
///         let names: Vec<&str> = record.readers().map(|stage| stage.name.as_str()).collect();
///         println!("{} of {}: {}", record.key, record.value.short_name(), names.join(", "));
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RecordNode {
    /// The record's key.
    pub key: String,
    /// The type of the record's values.
    pub value: TypeNode,
    /// The buffers declared for the record; a valid graph has exactly one.
    pub buffers: Vec<BufferNode>,
    /// Whether several takers may divide a mailbox's commands among them.
    pub shared: bool,
    /// Whether handles outside of the graph write the record.
    pub is_written_from_outside: bool,
    /// Whether handles outside of the graph read the record.
    pub is_read_from_outside: bool,
    /// The calls of [`expose`](crate::Registrar::expose); a valid graph has at most one.
    pub exposures: Vec<ExposureNode>,
    /// The calls of [`initial`](crate::Registrar::initial); a valid graph has at most one.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub initial_values: Vec<Location>,
    /// The stages that write or read the record.
    pub stages: Vec<StageNode>,
    /// The calls of [`named`](crate::Registrar::named) that follow no stage; a valid graph has none.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub misplaced_names: Vec<NameNode>,
    /// The `configure` calls of the record.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub locations: Locations,
}

/// One buffer that was declared for a record.
///
/// ```
/// use aimdb_core::{BufferCfg, Graph};
///
/// /// The records whose readers can hold their writers back.
/// fn queues(graph: &Graph) -> impl Iterator<Item = &str> {
///     let is_queue = |cfg| matches!(cfg, BufferCfg::SpmcQueue { .. });
///     let queues = graph.records.iter().filter(move |record| {
///         record.buffers.iter().any(|buffer| is_queue(buffer.cfg))
///     });
///     queues.map(|record| record.key.as_str())
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
#[non_exhaustive]
pub struct BufferNode {
    /// The kind of the buffer and its capacity.
    pub cfg: BufferCfg,
    /// The `buffer` call.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub location: Location,
}

/// How a record is read and written as bytes, by its key.
///
/// ```
/// use aimdb_core::Graph;
///
/// /// The records that can be set by their keys.
/// fn settable(graph: &Graph) -> impl Iterator<Item = &str> {
///     let records = graph.records.iter();
///     records.filter(|record| record.exposures.iter().any(|node| node.settable)).map(|record| record.key.as_str())
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ExposureNode {
    /// The media type of the bytes, for instance `application/json`.
    pub encoding: &'static str,
    /// Whether the record can be written, too.
    pub settable: bool,
    /// The `expose` call.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub location: Location,
}

impl ExposureNode {
    /// A record that can be read as bytes of this media type.
    #[must_use]
    pub const fn new(encoding: &'static str) -> Self {
        Self { encoding, settable: false, location: Location::UNKNOWN }
    }
}

/// Equal if both declare the same, wherever they declare it.
impl PartialEq for ExposureNode {
    fn eq(&self, other: &Self) -> bool {
        let Self { encoding, settable, location: _ } = self;
        *encoding == other.encoding && *settable == other.settable
    }
}

impl Eq for ExposureNode {}

/// A Rust type, compared by identity and printed by name.
///
/// ```
/// use aimdb_core::graph::TypeNode;
///
/// mod plant {
///     pub struct Level(pub f32);
/// }
///
/// let level = TypeNode::of::<plant::Level>();
/// assert_eq!(level.short_name(), "Level");
/// assert!(level.name.ends_with("plant::Level"));
/// assert_ne!(level, TypeNode::of::<f32>());
/// ```
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TypeNode {
    #[cfg_attr(feature = "serde", serde(skip))]
    id: TypeId,
    /// The full name, for instance `sensors::Temperature`, or the name that
    /// [`type_name`](crate::Registrar::type_name) set instead.
    pub name: &'static str,
}

/// One stage of a record.
///
/// ```
/// use aimdb_core::graph::{StageKind, StageNode};
///
/// fn arrow(stage: &StageNode) -> String {
///     if stage.kind.writes() { format!("← {}", stage.name) } else { format!("→ {}", stage.name) }
/// }
///
/// assert_eq!(arrow(&StageNode::new("sensor", StageKind::Source)), "← sensor");
/// assert_eq!(arrow(&StageNode::new("logger", StageKind::Tap)), "→ logger");
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StageNode {
    /// The stage's name, unique within its record.
    ///
    /// Health, metrics and reports show the stage under this name. It is the name that
    /// [`named`](crate::Registrar::named) set, or else the name of the stage's function, or else its kind. A name that
    /// is not set by `named` is followed by `#2`, `#3`, … where it would otherwise not be unique.
    pub name: String,
    /// The kind of the stage.
    pub kind: StageKind,
    /// Whether [`named`](crate::Registrar::named) set the name.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub is_named: bool,
    /// The call that registered the stage.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub location: Location,
}

/// A call of [`named`](crate::Registrar::named) that follows no stage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NameNode {
    /// The name.
    pub name: String,
    /// The `named` call.
    pub location: Location,
}

/// The kind of a stage: whether it writes or reads its record, and how.
///
/// ```
/// use aimdb_core::Graph;
/// use aimdb_core::graph::StageKind;
///
/// fn print_links(graph: &Graph) {
///     for record in &graph.records {
///         for stage in &record.stages {
///             match &stage.kind {
///                 StageKind::LinkTo { address } => println!("{} → {}", record.key, address.text),
///                 StageKind::LinkFrom { address } => println!("{} ← {}", record.key, address.text),
///                 _ => {}
///             }
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum StageKind {
    /// Writes the record.
    Source,
    /// Reads the record.
    Tap,
    /// Writes the record from other records.
    Transform {
        /// The records that the transform reads.
        inputs: Vec<PortNode>,
        /// Whether the transform was registered as a join. A join may have a single input.
        join: bool,
    },
    /// Writes the record, and possibly others, from other records, as an async function.
    Processor {
        /// The records that the processor reads.
        inputs: Vec<PortNode>,
        /// The records that the processor writes besides its own.
        outputs: Vec<PortNode>,
    },
    /// Sends the record's values through a connector.
    LinkTo {
        /// Where the values are sent.
        address: LinkNode,
    },
    /// Writes the record with what a connector receives.
    LinkFrom {
        /// Where the values are received from.
        address: LinkNode,
    },
}

/// The kind of a stage, without its details.
///
/// ```
/// use aimdb_core::graph::StageRole;
/// use aimdb_core::{AimDb, Runtime};
///
/// /// The number of sources that still run.
/// fn running_sources<R: Runtime>(db: &AimDb<R>) -> usize {
///     let health = db.health();
///     let sources = health.stages.iter().filter(|stage| stage.role == StageRole::Source);
///     sources.filter(|stage| !stage.state.is_terminal()).count()
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum StageRole {
    /// A source: writes its record.
    Source,
    /// A tap: reads its record.
    Tap,
    /// A transform or a join: writes its record from others.
    Transform,
    /// A processor: an async function that writes its record, and possibly others, from other records.
    Processor,
    /// A connector: serves all links that name it.
    Connector,
    /// A service: runs alongside the graph.
    Service,
}

impl StageRole {
    /// Whether a stage of this role writes its record itself. A connector does so through its links.
    pub(crate) const fn writes(self) -> bool {
        matches!(self, Self::Source | Self::Transform | Self::Processor)
    }
}

/// One record that a transform or a processor reads, or that a processor writes besides its own.
///
/// ```
/// use aimdb_core::Graph;
///
/// /// The records that are made from `key`, directly.
/// fn made_from<'g>(graph: &'g Graph, key: &str) -> Vec<&'g str> {
///     let mut made = Vec::new();
///     for record in &graph.records {
///         let mut inputs = record.stages.iter().flat_map(|stage| stage.kind.inputs());
///         if inputs.any(|port| port.key == key) {
///             made.push(record.key.as_str());
///         }
///     }
///     made
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PortNode {
    /// The record's key.
    pub key: String,
    /// The type that the stage expects.
    pub value: TypeNode,
}

/// The address of a link: parsed, or the reason why it cannot be.
///
/// ```
/// use aimdb_core::graph::LinkNode;
///
/// let link = LinkNode::from("mqtt://sensors/temp?qos=1");
/// assert_eq!(link.parsed.map(|address| address.topic).as_deref(), Ok("sensors/temp"));
///
/// let typo = LinkNode::from("mqtt:/sensors/temp");
/// assert_eq!(typo.parsed.unwrap_err(), "it has no `scheme://`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LinkNode {
    /// The address as it was written.
    pub text: String,
    /// The parsed address, or why the text is not an address.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub parsed: Result<Address, String>,
    /// Whether the topic is computed from each value. The address then names none.
    pub computed_topic: bool,
    /// Whether properties of each message are computed from its value.
    pub computed_properties: bool,
}

impl LinkNode {
    /// The text of a link to the address of its record's key, if the key has none.
    pub(crate) const OWN_ADDRESS: &str = "own_address()";
}

/// One connector, and the faults that it found in its configuration and its links.
///
/// ```
/// use aimdb_core::Graph;
///
/// /// Prints each connector and its faults, which a check reports as findings.
/// fn print_connectors(graph: &Graph) {
///     for connector in &graph.connectors {
///         println!("{}: {}", connector.name, connector.description);
///         connector.faults.iter().for_each(|fault| println!("  {fault:#}"));
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConnectorNode {
    /// The scheme by which links name the connector.
    pub name: String,
    /// The connector and its remote end in words, without secrets.
    pub description: String,
    /// What the connector is to its peer, if the peer tolerates it only once.
    pub identity: Option<String>,
    /// The faults that the connector reports. A fault in its own configuration has no record.
    pub faults: Vec<Finding>,
    /// The `connector` call.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub location: Location,
}

/// One service, and the faults that it found.
///
/// ```
/// use aimdb_core::Graph;
///
/// fn print_services(graph: &Graph) {
///     for service in &graph.services {
///         println!("{}: {}", service.name, service.description);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ServiceNode {
    /// The service's name.
    pub name: String,
    /// The service in words, without secrets.
    pub description: String,
    /// The faults that the service reports.
    pub faults: Vec<Finding>,
    /// The `service` call.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub location: Location,
}

impl ServiceNode {
    /// A service without faults.
    #[must_use]
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            faults: Vec::new(),
            location: Location::UNKNOWN,
        }
    }
}

/// Equal if both declare the same, wherever they declare it.
impl PartialEq for ServiceNode {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, description, faults, location: _ } = self;
        *name == other.name && *description == other.description && *faults == other.faults
    }
}

impl Eq for ServiceNode {}

impl RecordNode {
    /// Gives back the memory that the lists were allocated ahead: the graph stays as long as the database.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.buffers.shrink_to_fit();
        self.stages.shrink_to_fit();
    }

    /// A record without buffers and stages.
    #[must_use]
    pub fn new(key: impl Into<String>, value: TypeNode) -> Self {
        Self {
            key: key.into(),
            value,
            buffers: Vec::new(),
            shared: false,
            is_written_from_outside: false,
            is_read_from_outside: false,
            exposures: Vec::new(),
            initial_values: Vec::new(),
            stages: Vec::new(),
            misplaced_names: Vec::new(),
            locations: Locations::default(),
        }
    }

    /// Moves the node out and leaves an empty one.
    pub(crate) fn take(&mut self) -> Self {
        let value = self.value;
        core::mem::replace(self, Self::new(String::new(), value))
    }

    /// The stages of the record that write it. Processors of other records are not among them.
    pub fn writers(&self) -> impl Iterator<Item = &StageNode> {
        self.stages.iter().filter(|stage| stage.kind.writes())
    }

    /// The stages of the record that read it. Transforms and processors of other records are not among them.
    pub fn readers(&self) -> impl Iterator<Item = &StageNode> {
        self.stages.iter().filter(|stage| !stage.kind.writes())
    }

    /// Makes the stages' names unique: `tap`, `tap#2`, `tap#3`, … Names that were set by `named` stay as they are.
    pub(crate) fn number_stages(&mut self) {
        for at in 0..self.stages.len() {
            let taken = |candidate: &str| {
                let mut others = self.stages.iter().enumerate();
                others.any(|(other, stage)| {
                    stage.name == candidate && (other < at || other != at && stage.is_named)
                })
            };
            let stage = &self.stages[at];
            if stage.is_named || !taken(&stage.name) {
                continue;
            }
            let numbered = (2..).map(|number| format!("{}#{number}", stage.name));
            if let Some(free) = numbered.into_iter().find(|name| !taken(name)) {
                self.stages[at].name = free;
            }
        }
    }
}

/// Equal if both declare the same record, wherever they declare it.
impl PartialEq for RecordNode {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            key,
            value,
            buffers,
            shared,
            is_written_from_outside,
            is_read_from_outside,
            exposures,
            initial_values,
            stages,
            misplaced_names,
            locations: _,
        } = self;
        *is_written_from_outside == other.is_written_from_outside
            && *is_read_from_outside == other.is_read_from_outside
            && *exposures == other.exposures
            && initial_values.len() == other.initial_values.len()
            && *key == other.key
            && *value == other.value
            && *buffers == other.buffers
            && *shared == other.shared
            && *stages == other.stages
            && *misplaced_names == other.misplaced_names
    }
}

impl Eq for RecordNode {}

impl BufferNode {
    /// A buffer that `cfg` describes.
    #[must_use]
    pub const fn new(cfg: BufferCfg) -> Self {
        Self { cfg, location: Location::UNKNOWN }
    }
}

/// Equal if both declare the same buffer, wherever they declare it.
impl PartialEq for BufferNode {
    fn eq(&self, other: &Self) -> bool {
        self.cfg == other.cfg
    }
}

impl Eq for BufferNode {}

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

/// Equal if both are the same type, under whatever name.
impl PartialEq for TypeNode {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for TypeNode {}

impl StageNode {
    /// A stage that is named after its function or its kind.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: StageKind) -> Self {
        Self { name: name.into(), kind, is_named: false, location: Location::UNKNOWN }
    }
}

/// Equal if both declare the same stage, wherever they declare it.
impl PartialEq for StageNode {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, kind, is_named, location: _ } = self;
        *name == other.name && *kind == other.kind && *is_named == other.is_named
    }
}

impl Eq for StageNode {}

/// Equal if both are the same name, wherever it is set.
impl PartialEq for NameNode {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for NameNode {}

impl StageKind {
    /// Whether the stage writes its record; otherwise the stage reads it.
    #[must_use]
    pub const fn writes(&self) -> bool {
        matches!(
            self,
            Self::Source | Self::Transform { .. } | Self::Processor { .. } | Self::LinkFrom { .. }
        )
    }

    /// The other records that the stage reads.
    #[must_use]
    pub fn inputs(&self) -> &[PortNode] {
        match self {
            Self::Transform { inputs, .. } | Self::Processor { inputs, .. } => inputs,
            _ => &[],
        }
    }

    /// The other records that the stage writes.
    #[must_use]
    pub fn outputs(&self) -> &[PortNode] {
        match self {
            Self::Processor { outputs, .. } => outputs,
            _ => &[],
        }
    }

    /// The link's address, if the stage is a link.
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
            Self::Processor => "processor",
            Self::Connector => "connector",
            Self::Service => "service",
        })
    }
}

impl PortNode {
    /// The record `key`, which should hold values of type `value`.
    #[must_use]
    pub fn new(key: impl Into<String>, value: TypeNode) -> Self {
        Self { key: key.into(), value }
    }
}

impl LinkNode {
    /// The same link, with a topic that is computed from each value.
    #[must_use]
    pub fn with_computed_topic(self) -> Self {
        Self { computed_topic: true, ..self }
    }

    /// The same link, with properties of each message that are computed from its value.
    #[must_use]
    pub fn with_computed_properties(self) -> Self {
        Self { computed_properties: true, ..self }
    }

    pub(crate) fn new(text: String, parsed: Result<Address, String>) -> Self {
        Self { text, parsed, computed_topic: false, computed_properties: false }
    }
}

impl ConnectorNode {
    /// A connector without faults.
    #[must_use]
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            identity: None,
            faults: Vec::new(),
            location: Location::UNKNOWN,
        }
    }
}

/// Equal if both declare the same connector, wherever they declare it.
impl PartialEq for ConnectorNode {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, description, identity, faults, location: _ } = self;
        *name == other.name
            && *description == other.description
            && *identity == other.identity
            && *faults == other.faults
    }
}

impl Eq for ConnectorNode {}

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

#[cfg(test)]
mod tests {
    use super::{RecordNode, StageKind, StageNode, TypeNode};

    #[test]
    fn number_stages_keeps_set_names_and_numbers_the_others() {
        let mut record = RecordNode::new("r", TypeNode::of::<u8>());
        for (name, is_named) in
            [("tap", false), ("tap", false), ("tap#2", true), ("tap", false), ("tap", true)]
        {
            let mut stage = StageNode::new(name, StageKind::Tap);
            stage.is_named = is_named;
            record.stages.push(stage);
        }
        record.number_stages();
        let names: alloc::vec::Vec<_> = record.stages.iter().map(|stage| &*stage.name).collect();
        assert_eq!(names, ["tap#3", "tap#4", "tap#2", "tap#5", "tap"]);
    }
}
