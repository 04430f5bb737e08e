//! The parts of the console's answers that the commands show.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Deserialize)]
pub(crate) struct Info {
    pub(crate) pid: u32,
    pub(crate) state: String,
    pub(crate) records: usize,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Metrics {
    /// Nanoseconds of the database's clock.
    pub(crate) at: u64,
    pub(crate) records: Vec<Record>,
    pub(crate) links: Vec<Link>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) buffer: Value,
    pub(crate) produced: u64,
    pub(crate) overwritten: u64,
    pub(crate) depth: u64,
    pub(crate) last_update: Option<u64>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) observers: Vec<String>,
    pub(crate) departed: Departed,
    pub(crate) blocked: Option<Blocked>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Reader {
    pub(crate) name: String,
    pub(crate) lagged: u64,
    pub(crate) pending: u64,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Departed {
    pub(crate) lagged: u64,
    pub(crate) unread: u64,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Blocked {
    pub(crate) held_back_by: String,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Link {
    pub(crate) key: String,
    pub(crate) address: String,
    pub(crate) direction: String,
    pub(crate) connected: bool,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: BTreeMap<String, u64>,
    pub(crate) last_error: Option<String>,
    pub(crate) last_error_is_over: bool,
}

#[derive(Deserialize)]
pub(crate) struct Losses {
    pub(crate) total: BTreeMap<String, u64>,
    /// The meaning of each cause.
    pub(crate) causes: BTreeMap<String, String>,
    pub(crate) accounts: Vec<Account>,
}

#[derive(Deserialize)]
pub(crate) struct Account {
    pub(crate) record: String,
    pub(crate) party: Party,
    pub(crate) entered: u64,
    pub(crate) delivered: u64,
    pub(crate) held: u64,
    pub(crate) filtered: u64,
    pub(crate) lost: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Party {
    Record,
    Reader {
        name: String,
    },
    DepartedReaders,
    Link {
        address: String,
        direction: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub(crate) struct Health {
    pub(crate) healthy: bool,
    pub(crate) state: String,
    pub(crate) stages: Vec<Stage>,
    pub(crate) links: Vec<LinkHealth>,
    pub(crate) blocked: Vec<BlockedRecord>,
}

#[derive(Deserialize)]
pub(crate) struct BlockedRecord {
    pub(crate) key: String,
    pub(crate) blocked: Blocked,
}

/// An event with its text.
#[derive(Deserialize)]
pub(crate) struct Happened {
    pub(crate) at: u64,
    pub(crate) text: String,
}

#[derive(Deserialize)]
pub(crate) struct Stage {
    pub(crate) owner: BTreeMap<String, String>,
    pub(crate) stage: String,
    pub(crate) state: String,
    pub(crate) cause: Option<String>,
    pub(crate) restarts: u32,
}

impl Stage {
    /// The record, connector or service of the stage.
    pub(crate) fn owner(&self) -> &str {
        self.owner.values().next().map_or("", String::as_str)
    }
}

#[derive(Deserialize)]
pub(crate) struct LinkHealth {
    pub(crate) key: String,
    pub(crate) address: String,
    pub(crate) connected: bool,
    pub(crate) last_error: Option<String>,
    pub(crate) last_error_is_over: bool,
}

#[derive(Deserialize)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) type_name: String,
    pub(crate) buffer: Value,
    pub(crate) encoding: Option<String>,
    pub(crate) readable: bool,
    pub(crate) settable: bool,
}

#[derive(Deserialize)]
pub(crate) struct Diagnosis {
    pub(crate) state: String,
    pub(crate) at_fault: bool,
    pub(crate) steps: Vec<Step>,
}

#[derive(Deserialize)]
pub(crate) struct Step {
    pub(crate) depth: usize,
    pub(crate) is_fault: bool,
    pub(crate) text: String,
}

impl Record {
    /// The values that the slowest reader has yet to take.
    pub(crate) fn behind(&self) -> u64 {
        self.readers.iter().map(|reader| reader.pending).max().unwrap_or(0)
    }

    /// The values that its readers lost, or that left the buffer untaken.
    ///
    /// `None` for a latest record and a mailbox with readers, who get the newest value by design.
    pub(crate) fn lost(&self) -> Option<u64> {
        let keeps_all = buffer(&self.buffer).contains(" of ");
        (keeps_all || self.readers.is_empty()).then(|| self.count_lost())
    }

    fn count_lost(&self) -> u64 {
        let lagged: u64 = self.readers.iter().map(|reader| reader.lagged).sum();
        let unread = if self.readers.is_empty() { self.overwritten } else { 0 };
        lagged + self.departed.lagged + self.departed.unread + unread
    }
}

impl Link {
    pub(crate) fn messages(&self) -> u64 {
        self.sent + self.received
    }

    /// The last error, if it is not over.
    pub(crate) fn error(&self) -> Option<&str> {
        self.last_error.as_deref().filter(|_| !self.last_error_is_over)
    }
}

/// `ring of 16`, from the console's JSON of a buffer.
pub(crate) fn buffer(value: &Value) -> String {
    let (kind, capacity) = match value {
        Value::String(kind) => (kind.as_str(), None),
        Value::Object(object) => match object.iter().next() {
            Some((kind, inner)) => (kind.as_str(), inner["capacity"].as_u64()),
            None => ("?", None),
        },
        _ => ("?", None),
    };
    let kind = match kind {
        "SpmcRing" | "spmc_ring" => "ring",
        "SpmcQueue" | "spmc_queue" => "queue",
        "SingleLatest" | "single_latest" => "latest",
        "Mailbox" | "mailbox" => "mailbox",
        other => other,
    };
    capacity.map_or_else(|| kind.to_owned(), |capacity| format!("{kind} of {capacity}"))
}
