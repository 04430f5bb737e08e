//! The graph for people: as text and as Mermaid.

use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::graph::node::{Graph, RecordNode, StageKind, StageNode};

/// One record a paragraph: what it is, who writes it, who reads it.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for connector in &self.connectors {
            writeln!(f, "connector {}: {}", connector.name, connector.description)?;
        }
        for record in &self.records {
            writeln!(f, "{}  {}  {}", record.key, record.value.short_name(), buffer_text(record))?;
            record.writers().try_for_each(|stage| writeln!(f, "  ← {}", stage_text(stage)))?;
            record.readers().try_for_each(|stage| writeln!(f, "  → {}", stage_text(stage)))?;
            for (other, stage) in self.transforms_of(&record.key) {
                writeln!(f, "  → {} of {}", labelled("transform", &stage.name), other.key)?;
            }
        }
        Ok(())
    }
}

impl Graph {
    /// A [Mermaid](https://mermaid.js.org) flowchart, from sources on the left to taps and links on the right.
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
            for (s, stage) in record.stages.iter().enumerate() {
                self.mermaid_stage(&mut out, r, &format!("r{r}s{s}"), stage);
            }
        }
        out
    }

    fn mermaid_stage(&self, out: &mut String, r: usize, id: &str, stage: &StageNode) {
        let name = escape(&stage.name);
        match &stage.kind {
            StageKind::Source => *out += &format!("  {id}([\"{name}\"]) --> r{r}\n"),
            StageKind::Tap => *out += &format!("  r{r} --> {id}([\"{name}\"])\n"),
            StageKind::LinkTo { address } => {
                *out += &format!("  r{r} --> {id}>\"{}\"]\n", escape(&address.text))
            }
            StageKind::LinkFrom { address } => {
                *out += &format!("  {id}>\"{}\"] --> r{r}\n", escape(&address.text))
            }
            StageKind::Transform { inputs, .. } => {
                *out += &format!("  {id}[/\"{name}\"\\] --> r{r}\n");
                for input in inputs {
                    if let Some(from) =
                        self.records.iter().position(|record| record.key == input.key)
                    {
                        *out += &format!("  r{from} --> {id}\n");
                    }
                }
            }
        }
    }
}

fn buffer_text(record: &RecordNode) -> String {
    record.buffers.first().map_or_else(|| "no buffer".into(), |buffer| format!("{buffer}"))
}

fn stage_text(stage: &StageNode) -> String {
    match &stage.kind {
        StageKind::Source => labelled("source", &stage.name),
        StageKind::Tap => labelled("tap", &stage.name),
        StageKind::LinkTo { address } | StageKind::LinkFrom { address } => {
            format!("link {}", address.text)
        }
        StageKind::Transform { inputs, .. } => {
            let keys =
                inputs.iter().map(|input| input.key.as_str()).collect::<alloc::vec::Vec<_>>();
            format!("{} of {}", labelled("transform", &stage.name), keys.join(", "))
        }
    }
}

/// `tap temperature_logger`; a closure is named after its kind, which is said once.
fn labelled(kind: &str, name: &str) -> String {
    if name.starts_with(kind) { name.into() } else { format!("{kind} {name}") }
}

/// Mermaid's own escape for what would end a quoted label.
fn escape(text: &str) -> String {
    text.replace('"', "#quot;")
}
