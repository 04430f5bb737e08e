//! From a plan to stages: each stage receives its cell, its handles and its task.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;

use crate::address::Direction;
use crate::context::RuntimeContext;
use crate::engine::lifecycle::Engine;
use crate::engine::stage::{Stage, StageCell};
use crate::error::DbResult;
use crate::graph::finding::{Finding, Rule};
use crate::graph::node::{LinkNode, StageNode, StageRole};
use crate::key::Record;
use crate::link::connector::Links;
use crate::link::inbound::{DeadLetterHook, InboundLink};
use crate::link::outbound::OutboundLink;
use crate::link::status::{LinkInfo, LinkStatus};
use crate::owner::{Owner, StageId};
use crate::record::{AnyRecord, RecordCell, RecordIndex};
use crate::runtime::adapter::Runtime;
use crate::runtime::spawn::{Spawn, SpawnError};
use crate::stages::input::Inputs;
use crate::sync::Arc;

/// Connects one stage: makes its handles and gives its future to the runtime.
pub(crate) type Wire<R> = Box<dyn FnOnce(&mut Wiring<'_, R>, StageSite) -> Result<(), Finding>>;

/// The place of a stage in the graph.
pub(crate) struct StageSite {
    /// The index of its record.
    pub(crate) record: usize,
    /// Its name, unique within the record.
    pub(crate) name: Arc<str>,
}

/// What the stages of one database are connected with. The plan has been checked, so lookups by key and type succeed.
pub(crate) struct Wiring<'b, R> {
    pub(crate) runtime: &'b Arc<R>,
    engine: &'b Arc<Engine>,
    records: &'b [AnyRecord],
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
        records: &'b [AnyRecord],
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

    /// Connects one stage of the record at index `record`.
    pub(crate) fn stage(
        &mut self,
        record: usize,
        stage: &StageNode,
        wire: Wire<R>,
    ) -> Result<(), Finding> {
        wire(self, StageSite { record, name: stage.name.as_str().into() })
    }

    /// The record that the stage belongs to.
    pub(crate) fn record<T: Record>(&self, site: &StageSite) -> Arc<RecordCell<T>> {
        self.records[site.record].typed().expect("a draft makes its record with its own type")
    }

    /// The readers of a transform, which `open` subscribes.
    pub(crate) fn inputs<O>(
        &self,
        site: &StageSite,
        open: impl FnOnce(&mut Inputs<'_>) -> DbResult<O>,
    ) -> O {
        let find = |key: &str| self.index.get(key).map(|indices| &self.records[indices[0]]);
        // Several transforms with one name may read a record: the owner tells their readers apart.
        let reader = alloc::format!("{}/{}", self.records[site.record].key, site.name);
        let mut inputs = Inputs { reader: reader.into(), find: &find };
        open(&mut inputs).expect("the check has found every input, with its type")
    }

    /// Makes the stage's cell and context, calls `make` for its future, and gives that to the runtime.
    pub(crate) fn spawn<F>(
        &mut self,
        site: &StageSite,
        role: StageRole,
        make: impl FnOnce(RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output = ()>,
        R: Spawn<F>,
    {
        let cell = self.new_cell(site, role);
        self.launch(cell, make)
    }

    fn new_cell(&mut self, site: &StageSite, role: StageRole) -> Arc<StageCell> {
        let owner = Owner::Record(Arc::clone(&self.records[site.record].key));
        let cell = StageCell::new(Arc::clone(&site.name), owner, role, Arc::clone(self.engine));
        self.wired.cells.push(Arc::clone(&cell));
        if matches!(role, StageRole::Source | StageRole::Transform) {
            self.wired.writers.push((site.record, Arc::clone(&cell)));
        }
        cell
    }

    fn launch<F>(
        &self,
        cell: Arc<StageCell>,
        make: impl FnOnce(RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output = ()>,
        R: Spawn<F>,
    {
        let context = RuntimeContext::new(Arc::clone(self.runtime), Arc::clone(&cell));
        let stage = Stage::new(make(context), Arc::clone(&cell), Arc::clone(self.runtime));
        self.runtime.spawn(stage).map_err(|refusal| refused(&cell.id(), &refusal))
    }

    /// Hands a record's outbound link to the connector that `link` names.
    pub(crate) fn link_out(
        &mut self,
        site: &StageSite,
        link: &LinkNode,
        make: impl FnOnce(LinkInfo) -> OutboundLink,
    ) {
        let (connector, info) = self.link(site, link, Direction::Outbound);
        self.links[connector].outbound.push(make(info));
    }

    /// Hands a record's inbound link to the connector that `link` names.
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
        let info = LinkInfo {
            key: Arc::clone(&self.records[site.record].key),
            stage: Arc::clone(&site.name),
            address: Arc::new(address),
            status: Arc::new(LinkStatus::new(direction)),
        };
        self.wired.links.push(info.clone());
        (connector.expect("the check has refused links to connectors that do not exist"), info)
    }

    /// Starts the connector at index `connector` with the links that were handed to it.
    pub(crate) fn connector<F>(
        &mut self,
        connector: usize,
        run: impl FnOnce(Links, RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output = ()>,
        R: Spawn<F>,
    {
        let links = core::mem::take(&mut self.links[connector]);
        self.launch(Arc::clone(&self.connector_cells[connector]), |context| run(links, context))
    }

    pub(crate) fn finish(self) -> Wired {
        self.wired
    }
}

fn refused(stage: &StageId, refusal: &SpawnError) -> Finding {
    let problem =
        alloc::format!("the runtime refused its stage `{}`: {}", stage.stage, refusal.reason);
    Finding::new(Rule::Runtime, stage.owner.name(), problem, refusal.help)
}

/// What [`Wiring`] leaves to the database.
pub(crate) struct Wired {
    pub(crate) cells: Vec<Arc<StageCell>>,
    pub(crate) links: Vec<LinkInfo>,
    /// The stages that write a record, by the record's index.
    writers: Vec<(usize, Arc<StageCell>)>,
    /// The links that fill a record, by the record's index.
    inbound: Vec<(usize, LinkInfo)>,
}

impl Wired {
    /// Tells each record which stages and links write it.
    pub(crate) fn attach_to(&self, mut records: Vec<AnyRecord>) -> Vec<AnyRecord> {
        for (record, cell) in &self.writers {
            records[*record].writers.push(Arc::clone(cell));
        }
        for (record, link) in &self.inbound {
            records[*record].inbound.push(link.clone());
        }
        records
    }
}
