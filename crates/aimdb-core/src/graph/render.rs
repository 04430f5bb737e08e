//! A graph as text and as a Mermaid flowchart.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::graph::node::{Graph, LinkNode, PortNode, RecordNode, StageKind, StageNode};

/// One paragraph for each record: its type, its buffer, its writers (`←`) and its readers (`→`).
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for connector in &self.connectors {
            writeln!(f, "connector {}: {}", connector.name, connector.description)?;
        }
        for service in &self.services {
            writeln!(f, "service {}: {}", service.name, service.description)?;
        }
        let (readers, writers) = (self.readers_elsewhere(), self.writers_elsewhere());
        for record in &self.records {
            writeln!(f, "{}  {}  {}", record.key, record.value.short_name(), buffer_text(record))?;
            if !record.initial_values.is_empty() {
                writeln!(f, "  ← initial value")?;
            }
            record.writers().try_for_each(|stage| writeln!(f, "  ← {}", stage_text(stage)))?;
            for (other, stage) in writers.of(&record.key) {
                writeln!(f, "  ← {} of {}", labelled("processor", &stage.name), other.key)?;
            }
            if record.is_written_from_outside {
                writeln!(f, "  ← outside")?;
            }
            record.readers().try_for_each(|stage| writeln!(f, "  → {}", stage_text(stage)))?;
            if record.is_read_from_outside {
                writeln!(f, "  → outside")?;
            }
            for exposure in &record.exposures {
                let settable = if exposure.settable { ", settable" } else { "" };
                writeln!(f, "  → exposed as {}{settable}", exposure.encoding)?;
            }
            for (other, stage) in readers.of(&record.key) {
                let kind = if matches!(stage.kind, StageKind::Processor { .. }) {
                    "processor"
                } else {
                    "transform"
                };
                writeln!(f, "  → {} of {}", labelled(kind, &stage.name), other.key)?;
            }
        }
        Ok(())
    }
}

impl Graph {
    /// The graph as a [Mermaid](https://mermaid.js.org) flowchart, from sources on the left to taps on the right.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for (r, record) in self.records.iter().enumerate() {
            let label = format!(
                "{}<br/>{}, {}",
                record.key,
                record.value.short_name(),
                buffer_text(record)
            );
            out += &format!("  r{r}[(\"{}\")]\n", escape(&label));
            if record.is_written_from_outside {
                out += &format!("  r{r}o([\"outside\"]) -.-> r{r}\n");
            }
            if record.is_read_from_outside {
                out += &format!("  r{r} -.-> r{r}i([\"outside\"])\n");
            }
            for exposure in &record.exposures {
                out += &format!("  r{r} -.-> r{r}e([\"{}\"])\n", exposure.encoding);
            }
            for (s, stage) in record.stages.iter().enumerate() {
                self.mermaid_stage(&mut out, r, &format!("r{r}s{s}"), stage);
            }
        }
        out
    }

    /// The graph in the language of [Graphviz](https://graphviz.org), from sources on the left to taps on the right.
    ///
    /// ```
    /// use aimdb_core::graph::{BufferNode, RecordNode, StageKind, StageNode, TypeNode};
    /// use aimdb_core::{BufferCfg, Graph};
    ///
    /// let mut record = RecordNode::new("temp", TypeNode::of::<f32>());
    /// record.buffers.push(BufferNode::new(BufferCfg::ring(16)));
    /// record.stages.push(StageNode::new("sensor", StageKind::Source));
    /// let mut graph = Graph::default();
    /// graph.records.push(record);
    /// assert!(graph.dot().contains("r0s0 -> r0;"));
    /// ```
    #[must_use]
    pub fn dot(&self) -> String {
        let mut out = String::from("digraph aimdb {\n  rankdir=LR;\n  node [shape=plain];\n");
        let mut node = |id: &str, shape: &str, label: &str| {
            out += &format!("  {id} [shape={shape}, label={label:?}];\n");
        };
        let mut arrows = Vec::new();
        for (r, record) in self.records.iter().enumerate() {
            let value = record.value.short_name();
            let label = format!("{}\n{value}, {}", record.key, buffer_text(record));
            node(&format!("r{r}"), "cylinder", &label);
            if record.is_written_from_outside {
                node(&format!("r{r}o"), "oval", "outside");
                arrows.push((format!("r{r}o"), format!("r{r}")));
            }
            if record.is_read_from_outside {
                node(&format!("r{r}i"), "oval", "outside");
                arrows.push((format!("r{r}"), format!("r{r}i")));
            }
            for (s, stage) in record.stages.iter().enumerate() {
                let id = format!("r{r}s{s}");
                let (shape, label) = match &stage.kind {
                    StageKind::LinkTo { address } | StageKind::LinkFrom { address } => {
                        ("cds", address_text(address))
                    }
                    _ => ("box", stage.name.clone()),
                };
                node(&id, shape, &label);
                let to = |records: &[PortNode]| self.positions(records).collect::<Vec<_>>();
                for from in to(stage.kind.inputs()) {
                    arrows.push((format!("r{from}"), id.clone()));
                }
                for written in to(stage.kind.outputs()) {
                    arrows.push((id.clone(), format!("r{written}")));
                }
                let own = format!("r{r}");
                arrows.push(if stage.kind.writes() { (id, own) } else { (own, id) });
            }
        }
        for (from, to) in arrows {
            out += &format!("  {from} -> {to};\n");
        }
        out += "}\n";
        out
    }

    fn mermaid_stage(&self, out: &mut String, r: usize, id: &str, stage: &StageNode) {
        let name = escape(&stage.name);
        match &stage.kind {
            StageKind::Source => *out += &format!("  {id}([\"{name}\"]) --> r{r}\n"),
            StageKind::Tap => *out += &format!("  r{r} --> {id}([\"{name}\"])\n"),
            StageKind::LinkTo { address } => {
                *out += &format!("  r{r} --> {id}>\"{}\"]\n", link_label(stage, address))
            }
            StageKind::LinkFrom { address } => {
                *out += &format!("  {id}>\"{}\"] --> r{r}\n", link_label(stage, address))
            }
            StageKind::Transform { inputs, .. } => {
                *out += &format!("  {id}[/\"{name}\"\\] --> r{r}\n");
                for from in self.positions(inputs) {
                    *out += &format!("  r{from} --> {id}\n");
                }
            }
            StageKind::Processor { inputs, outputs } => {
                *out += &format!("  {id}[[\"{name}\"]] --> r{r}\n");
                for from in self.positions(inputs) {
                    *out += &format!("  r{from} --> {id}\n");
                }
                for to in self.positions(outputs) {
                    *out += &format!("  {id} --> r{to}\n");
                }
            }
        }
    }

    /// The indices of the records behind `ports`; a port without a record has none.
    fn positions(&self, ports: &[PortNode]) -> impl Iterator<Item = usize> {
        let position =
            |port: &PortNode| self.records.iter().position(|record| record.key == port.key);
        ports.iter().filter_map(position)
    }
}

fn buffer_text(record: &RecordNode) -> String {
    record.buffers.first().map_or_else(|| "no buffer".into(), |buffer| format!("{}", buffer.cfg))
}

fn stage_text(stage: &StageNode) -> String {
    match &stage.kind {
        StageKind::Source => labelled("source", &stage.name),
        StageKind::Tap => labelled("tap", &stage.name),
        StageKind::LinkTo { address } | StageKind::LinkFrom { address } => {
            let name = if stage.is_named { format!("{} ", stage.name) } else { String::new() };
            format!("link {name}{}", address_text(address))
        }
        StageKind::Transform { inputs, .. } => {
            format!("{} of {}", labelled("transform", &stage.name), keys(inputs))
        }
        StageKind::Processor { inputs, .. } => {
            format!("{} of {}", labelled("processor", &stage.name), keys(inputs))
        }
    }
}

fn keys(ports: &[PortNode]) -> String {
    ports.iter().map(|port| port.key.as_str()).collect::<Vec<_>>().join(", ")
}

/// The address, with a mark where each value has a topic of its own.
fn address_text(address: &LinkNode) -> String {
    let computed = if address.computed_topic { " (topic of each value)" } else { "" };
    format!("{}{computed}", address.text)
}

/// The address, below the link's name if it was given one.
fn link_label(stage: &StageNode, address: &LinkNode) -> String {
    let address = escape(&address_text(address));
    if stage.is_named { format!("{}<br/>{address}", escape(&stage.name)) } else { address }
}

/// `tap temperature_logger`. A closure is named after its kind, which is not repeated: `tap`, `tap#2`.
fn labelled(kind: &str, name: &str) -> String {
    if name.starts_with(kind) { name.into() } else { format!("{kind} {name}") }
}

/// Escapes the quotes of a label as Mermaid defines it.
fn escape(text: &str) -> String {
    text.replace('"', "#quot;")
}
