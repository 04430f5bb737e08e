//! Services: programs that run alongside the graph and look at it.

use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;

use crate::context::RuntimeContext;
use crate::engine::db::WeakAimDb;
use crate::engine::result::StageResult;
use crate::graph::finding::Finding;
use crate::graph::node::Graph;
use crate::runtime::adapter::Runtime;

/// A program that runs alongside the graph with a weak handle on the database: a console, an exporter, a recorder.
///
/// [`AimDbBuilder::service`](crate::AimDbBuilder::service) adds one. It belongs to no record, holds nothing open, and is
/// supervised as a stage is: its failure appears in the health and in the log under its own name, and stops nothing else
/// unless the builder has [`stop_on_failure`](crate::AimDbBuilder::stop_on_failure).
///
/// # From start to end
///
/// - The build calls [`check`](Self::check), with the graph as it is without services, and then [`run`](Self::run). The
///   future is polled when the database starts; its task is spawned before those of the stages.
/// - [`WeakAimDb::upgrade`] gives the database as long as it lives. A service that keeps an upgraded handle over an await
///   keeps the database alive meanwhile.
/// - A shutdown ends a service last, so that it can show the drain: [`RuntimeContext::stopping`] completes for a service once
///   all records are closed and drained and all stages have ended, or when the deadline has passed. The shutdown then waits
///   for the service until its deadline, and for half a second if that has passed. A service that wants to know of the
///   beginning listens to [`RuntimeContext::events`].
/// - On a runtime with several threads the first values and failures of stages may come before the first poll of a service:
///   it subscribes to the events in [`run`](Self::run) itself, which misses none.
/// - A service ends the database by [`RuntimeContext::shutdown`]. If it awaits [`AimDb::shutdown`](crate::AimDb::shutdown)
///   itself, it waits for its own end, until the deadline.
/// - A database that is dropped without a shutdown ends its services at their next await.
///
/// # Example
///
/// ```
/// use aimdb_core::service::Service;
/// use aimdb_core::{Finding, Graph, Rule, RuntimeContext, SendRuntime, WeakAimDb};
/// use std::pin::Pin;
///
/// /// Logs the metrics every so many seconds.
/// struct Report {
///     every: u64,
/// }
///
/// impl<R: SendRuntime> Service<R> for Report {
///     type Run = Pin<Box<dyn Future<Output = ()> + Send>>;
///
///     fn name(&self) -> &str {
///         "report"
///     }
///
///     fn check(&self, _graph: &Graph) -> Vec<Finding> {
///         let problem = "its period is zero";
///         let finding = || Finding::new(Rule::BadService, "", problem, "give it a period of a second or more");
///         (self.every == 0).then(finding).into_iter().collect()
///     }
///
///     fn run(self, db: WeakAimDb<R>, ctx: RuntimeContext<R>) -> Self::Run {
///         Box::pin(async move {
///             let report = async {
///                 loop {
///                     ctx.time().sleep(ctx.time().secs(self.every)).await;
///                     let Some(db) = db.upgrade() else { return };
///                     ctx.log().info(format_args!("{}", db.metrics()));
///                 }
///             };
///             aimdb_core::race::race(ctx.stopping(), report).await;
///         })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a service for the runtime `{R}`")]
pub trait Service<R: Runtime>: 'static {
    /// The future of the running service. An error is a failure of the service.
    type Run: Future<Output: StageResult> + 'static;

    /// The service's name, unique among the services of a database.
    fn name(&self) -> &str;

    /// Describes the service for the printed graph, for instance where it listens. The text MUST NOT contain secrets.
    fn describe(&self) -> String {
        String::new()
    }

    /// Returns the faults of the service's own configuration, and of what it expects of the graph. A finding of severity
    /// error prevents the build.
    fn check(&self, graph: &Graph) -> Vec<Finding> {
        let _ = graph;
        Vec::new()
    }

    /// Starts the service. The engine calls it once, in `build()`.
    fn run(self, db: WeakAimDb<R>, context: RuntimeContext<R>) -> Self::Run;
}
