//! The moment between plan and running stages: every stage gets its cell, its handles and its task.

use crate::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;

use crate::builder::{Places, Wire, Wired};
use crate::context::RuntimeContext;
use crate::engine::{AnyRecord, Engine, Inputs, Stage, StageCell};
use crate::graph::{Finding, LinkNode, Rule, StageNode, StageRole};
use crate::handle::RecordCell;
use crate::key::Record;
use crate::link::{DeadLetterHook, InboundLink, LinkInfo, LinkStatus, Links, OutboundLink};
use crate::runtime::{Runtime, Spawn, SpawnError};

/// What a stage is wired with. The plan has been checked, so lookups by key and type cannot fail here.
pub(crate) struct Wiring<'b, R> {
    pub(crate) runtime: &'b Arc<R>,
    engine: &'b Arc<Engine>,
    records: &'b [AnyRecord],
    places: &'b Places,
    connector_cells: Vec<Arc<StageCell>>,
    links: Vec<Links>,
    pub(crate) dead_letters: Option<DeadLetterHook>,
    /// The record and the stage that are being wired.
    at: usize,
    name: Arc<str>,
    wired: Wired,
}

impl<'b, R: Runtime> Wiring<'b, R> {
    pub(crate) fn new(
        runtime: &'b Arc<R>,
        engine: &'b Arc<Engine>,
        records: &'b [AnyRecord],
        places: &'b Places,
        connector_cells: Vec<Arc<StageCell>>,
        dead_letters: Option<DeadLetterHook>,
    ) -> Self {
        let wired = Wired {
            cells: connector_cells.clone(),
            links: Vec::new(),
            writers: Vec::new(),
            inlets: Vec::new(),
        };
        Self {
            runtime,
            engine,
            records,
            places,
            links: connector_cells.iter().map(|_| Links::default()).collect(),
            connector_cells,
            dead_letters,
            at: 0,
            name: "".into(),
            wired,
        }
    }

    /// Wires one stage of the record at `at`.
    pub(crate) fn stage(
        &mut self,
        at: usize,
        stage: &StageNode,
        wire: Wire<R>,
    ) -> Result<(), Finding> {
        self.at = at;
        self.name = stage.name.as_str().into();
        wire(self)
    }

    pub(crate) fn stage_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The record being wired.
    pub(crate) fn record<T: Record>(&self) -> Arc<RecordCell<T>> {
        self.records[self.at].typed().expect("a draft makes its record with its own type")
    }

    /// The other records, for a transform.
    pub(crate) fn inputs<O>(&self, open: impl FnOnce(&mut Inputs<'_>) -> crate::DbResult<O>) -> O {
        let find = |key: &str| self.places.get(key).map(|places| &self.records[places[0]]);
        let mut inputs = Inputs { stage: self.stage_name(), find: &find };
        open(&mut inputs).expect("the check has found every input, with its type")
    }

    /// Makes the stage's cell and context, calls `make` for its future, and gives that to the runtime.
    pub(crate) fn spawn<F>(
        &mut self,
        role: StageRole,
        make: impl FnOnce(RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output = ()>,
        R: Spawn<F>,
    {
        let cell = self.new_cell(role);
        self.launch(cell, make)
    }

    fn new_cell(&mut self, role: StageRole) -> Arc<StageCell> {
        let record = Arc::clone(&self.records[self.at].key);
        let cell = StageCell::new(self.stage_name(), record, role, Arc::clone(self.engine));
        self.wired.cells.push(Arc::clone(&cell));
        if matches!(role, StageRole::Source | StageRole::Transform) {
            self.wired.writers.push((self.at, Arc::clone(&cell)));
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
        self.runtime.spawn(stage).map_err(|refusal| refused(&cell, &refusal))
    }

    /// Hands a record's messages to the connector that `link` names.
    pub(crate) fn link_out(
        &mut self,
        link: &LinkNode,
        make: impl FnOnce(LinkInfo) -> OutboundLink,
    ) {
        let (connector, info) = self.link(link, true);
        self.links[connector].outbound.push(make(info));
    }

    /// Hands a record's inlet to the connector that `link` names.
    pub(crate) fn link_in(
        &mut self,
        link: &LinkNode,
        make: impl FnOnce(LinkInfo, Arc<StageCell>) -> InboundLink,
    ) {
        let (connector, info) = self.link(link, false);
        self.wired.inlets.push((self.at, info.clone()));
        self.links[connector]
            .inbound
            .push(make(info, Arc::clone(&self.connector_cells[connector])));
    }

    fn link(&mut self, link: &LinkNode, outbound: bool) -> (usize, LinkInfo) {
        let address =
            link.parsed.clone().expect("the check has refused addresses that cannot be read");
        let connector =
            self.connector_cells.iter().position(|cell| *cell.record == *address.scheme);
        let info = LinkInfo {
            key: Arc::clone(&self.records[self.at].key),
            address: Arc::new(address),
            status: Arc::new(LinkStatus::new(outbound)),
        };
        self.wired.links.push(info.clone());
        (connector.expect("the check has refused links to connectors that do not exist"), info)
    }

    /// Starts the connector at `at` with the links that were handed to it.
    pub(crate) fn connector<F>(
        &mut self,
        at: usize,
        run: impl FnOnce(Links, RuntimeContext<R>) -> F,
    ) -> Result<(), Finding>
    where
        F: Future<Output = ()>,
        R: Spawn<F>,
    {
        let links = core::mem::take(&mut self.links[at]);
        self.launch(Arc::clone(&self.connector_cells[at]), |context| run(links, context))
    }

    pub(crate) fn finish(self) -> Wired {
        self.wired
    }
}

fn refused(cell: &StageCell, refusal: &SpawnError) -> Finding {
    let problem =
        alloc::format!("the runtime refused its stage `{}`: {}", cell.name, refusal.reason);
    Finding::new(Rule::Runtime, &*cell.record, problem, refusal.remedy)
}
