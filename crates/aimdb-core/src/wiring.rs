//! Wiring: builds the stages of a checked plan, each with its cell, its handles and its task.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;

use crate::address::Direction;
use crate::context::RuntimeContext;
use crate::engine::lifecycle::Engine;
use crate::engine::result::StageResult;
use crate::engine::stage::{Stage, StageCell};
use crate::error::DbResult;
use crate::graph::finding::{Finding, Rule};
use crate::graph::node::{LinkNode, StageNode, StageRole};
use crate::key::Record;
use crate::link::connector::Links;
use crate::link::inbound::{DeadLetterHook, InboundLink};
use crate::link::outbound::OutboundLink;
use crate::link::status::{LinkInfo, LinkOwner, LinkStatus};
use crate::owner::{Owner, StageId};
use crate::record::{RecordCell, RecordEntry, RecordIndex, SetInitial};
use crate::runtime::adapter::Runtime;
use crate::runtime::spawn::{Spawn, SpawnError};
use crate::stages::input::Inputs;
use crate::sync::Arc;

/// Wires one stage: makes its handles and spawns its future on the runtime.
pub(crate) type Wire<R> = Box<dyn FnOnce(&mut Wiring<'_, R>, StageSite) -> Result<(), Finding>>;

/// The position of a stage in the graph.
pub(crate) struct StageSite {
    /// The index of the record that the stage belongs to.
    pub(crate) record: usize,
    /// The stage's name, unique within the record.
    pub(crate) name: Arc<str>,
}

/// The parts of one database that its stages are wired to.
///
/// The plan has been checked, so lookups by key and type succeed.
pub(crate) struct Wiring<'b, R> {
    pub(crate) runtime: &'b Arc<R>,
    engine: &'b Arc<Engine>,
    records: &'b [RecordEntry],
    index: &'b RecordIndex,
    connector_cells: Vec<Arc<StageCell>>,
    links: Vec<Links>,
    pub(crate) dead_letters: Option<DeadLetterHook>,
    wired: Wired,
}

impl<'b, R: Runtime> Wiring<'b, R> {
    pub(crate) fn new(
        runtime: &'b Arc<R>,
        engine: &'b Arc<Engine>,
        records: &'b [RecordEntry],
        index: &'b RecordIndex,
        connector_cells: Vec<Arc<StageCell>>,
        dead_letters: Option<DeadLetterHook>,
    ) -> Self {
        let wired = Wired {
            cells: connector_cells.clone(),
            links: Vec::new(),
            writers: Vec::new(),
            inbound: Vec::new(),
        };
        Self {
            runtime,
            engine,
            records,
            index,
            links: connector_cells.iter().map(|_| Links::default()).collect(),
            connector_cells,
            dead_letters,
            wired,
        }
    }

    /// Wires one stage of the record at index `record`.
    pub(crate) fn stage(
        &mut self,
        record: usize,
        stage: &StageNode,
        wire: Wire<R>,
    ) -> Result<(), Finding> {
        wire(self, StageSite { record, name: stage.name.as_str().into() })
    }

    /// Returns the record that the stage belongs to.
    pub(crate) fn record<T: Record>(&self, site: &StageSite) -> Arc<RecordCell<T>> {
        self.records[site.record].typed().expect("a draft makes its record with its own type")
    }

    /// Returns the readers of a transform, which `open` subscribes.
    pub(crate) fn inputs<O>(
        &self,
        site: &StageSite,
        open: impl FnOnce(&mut Inputs<'_>) -> DbResult<O>,
    ) -> O {
        let find = |key: &str| self.position(key).map(|at| &self.records[at]);
        // Transforms of different records may have one name and read one record. With their owner in the name, their
        // readers differ in metrics and reports.
        let reader = alloc::format!("{}/{}", self.records[site.record].key, site.name);
        let mut inputs = Inputs { reader: reader.into(), find: &find };
        open(&mut inputs).expect("the check has found every input, with its type")
    }

    /// The index of the record `key`.
    fn position(&self, key: &str) -> Option<usize> {
        self.index.get(key).map(|indices| indices[0])
    }

    /// Returns the record that an output of the stage names, with its index.
    pub(crate) fn output<T: Record>(&self, key: &str) -> (usize, Arc<RecordCell<T>>) {
        let at = self.position(key).expect("the check has found every output");
        (at, self.records[at].typed().expect("the check has compared the type of every output"))
    }

    /// Declares that the stage which was spawned last writes the records at the indices `also` too.
    pub(crate) fn writes_also(&mut self, also: Vec<usize>) {
        let Some(cell) = self.wired.cells.last() else { return };
        self.wired.writers.extend(also.into_iter().map(|at| (at, Arc::clone(cell))));
    }

    /// Produces the initial value of the record at index `record`.
    pub(crate) fn set_initial(&self, record: usize, initial: SetInitial) {
        initial(&self.records[record]);
    }

    /// Makes the stage's cell and context, calls `make` for the stage's future, and spawns it on the runtime.
    pub(crate) fn spawn<F>(
        &mut self,
        site: &StageSite,
        role: StageRole,
        make: impl FnOnce(RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output: StageResult>,
        R: Spawn<F>,
    {
        let cell = self.new_cell(site, role);
        self.spawn_on_runtime(cell, make)
    }

    fn new_cell(&mut self, site: &StageSite, role: StageRole) -> Arc<StageCell> {
        let owner = Owner::Record(Arc::clone(&self.records[site.record].key));
        let cell = StageCell::new(Arc::clone(&site.name), owner, role, Arc::clone(self.engine));
        self.wired.cells.push(Arc::clone(&cell));
        if role.writes() {
            self.wired.writers.push((site.record, Arc::clone(&cell)));
        }
        cell
    }

    fn spawn_on_runtime<F>(
        &self,
        cell: Arc<StageCell>,
        make: impl FnOnce(RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output: StageResult>,
        R: Spawn<F>,
    {
        let context = RuntimeContext::new(Arc::clone(self.runtime), Arc::clone(&cell));
        let stage = Stage::new(make(context), Arc::clone(&cell), Arc::clone(self.runtime));
        self.runtime.spawn(stage).map_err(|error| spawn_finding(&cell.id(), &error))
    }

    /// Adds an outbound link of the stage's record to the links of the connector that `link` names.
    pub(crate) fn link_out(
        &mut self,
        site: &StageSite,
        link: &LinkNode,
        make: impl FnOnce(LinkInfo) -> OutboundLink,
    ) {
        let (connector, info) = self.link(site, link, Direction::Outbound);
        self.links[connector].outbound.push(make(info));
    }

    /// Adds an inbound link of the stage's record to the links of the connector that `link` names.
    pub(crate) fn link_in(
        &mut self,
        site: &StageSite,
        link: &LinkNode,
        make: impl FnOnce(LinkInfo, Arc<StageCell>) -> InboundLink,
    ) {
        let (connector, info) = self.link(site, link, Direction::Inbound);
        self.wired.inbound.push((site.record, info.clone()));
        let cell = Arc::clone(&self.connector_cells[connector]);
        self.links[connector].inbound.push(make(info, cell));
    }

    fn link(
        &mut self,
        site: &StageSite,
        link: &LinkNode,
        direction: Direction,
    ) -> (usize, LinkInfo) {
        let address =
            link.parsed.clone().expect("the check has refused addresses that cannot be read");
        let connector =
            self.connector_cells.iter().position(|cell| *cell.owner.name() == *address.scheme);
        let key = &self.records[site.record].key;
        let address = Arc::new(address);
        let owner = LinkOwner {
            engine: Arc::clone(self.engine),
            key: Arc::clone(key),
            stage: Arc::clone(&site.name),
            address: Arc::clone(&address),
        };
        let info = LinkInfo {
            key: Arc::clone(key),
            stage: Arc::clone(&site.name),
            address,
            status: Arc::new(LinkStatus::new(direction, owner)),
        };
        self.wired.links.push(info.clone());
        (connector.expect("the check has refused links to connectors that do not exist"), info)
    }

    /// Spawns the connector at index `connector` with the links that were added to it.
    pub(crate) fn connector<F>(
        &mut self,
        connector: usize,
        run: impl FnOnce(Links, RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output: StageResult>,
        R: Spawn<F>,
    {
        let links = core::mem::take(&mut self.links[connector]);
        let cell = Arc::clone(&self.connector_cells[connector]);
        self.spawn_on_runtime(cell, |context| run(links, context))
    }

    /// Spawns a service.
    pub(crate) fn service<F>(
        &mut self,
        owner: Owner,
        run: impl FnOnce(RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output: StageResult>,
        R: Spawn<F>,
    {
        let cell =
            StageCell::new("service".into(), owner, StageRole::Service, Arc::clone(self.engine));
        self.wired.cells.push(Arc::clone(&cell));
        self.spawn_on_runtime(cell, run)
    }

    pub(crate) fn finish(self) -> Wired {
        self.wired
    }
}

/// The stages and links that [`Wiring`] has made, for the database.
pub(crate) struct Wired {
    pub(crate) cells: Vec<Arc<StageCell>>,
    pub(crate) links: Vec<LinkInfo>,
    /// Each stage that writes a record, with the record's index.
    writers: Vec<(usize, Arc<StageCell>)>,
    /// Each inbound link, with the index of the record that it writes.
    inbound: Vec<(usize, LinkInfo)>,
}

impl Wired {
    /// Adds to each record the stages and links that write it.
    pub(crate) fn attach_to(&self, mut records: Vec<RecordEntry>) -> Vec<RecordEntry> {
        for (record, cell) in &self.writers {
            records[*record].writers.push(Arc::clone(cell));
        }
        for (record, link) in &self.inbound {
            records[*record].inbound.push(link.clone());
        }
        records
    }
}

fn spawn_finding(stage: &StageId, error: &SpawnError) -> Finding {
    let problem =
        alloc::format!("the runtime refused its stage `{}`: {}", stage.stage, error.reason);
    Finding::new(Rule::Runtime, stage.owner.name(), problem, error.help)
}
