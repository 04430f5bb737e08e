//! The places in the source code that findings refer to.
#![cfg(not(aimdb_loom))]

mod common;

use std::future::{Ready, ready};

use aimdb_core::link::{LinkRequest, Links};
use aimdb_core::{
    AimDbBuilder, BufferCfg, Connector, DbError, Finding, Findings, Json, Rule, RuntimeContext,
    input,
};
use aimdb_testing::TestRuntime;
use common::{RING, builder};

type Builder = AimDbBuilder<TestRuntime>;

/// A connector that refuses every option and the name `broken`.
struct Fake(&'static str);

impl Connector<TestRuntime> for Fake {
    type Run = Ready<()>;

    fn name(&self) -> &str {
        self.0
    }

    fn describe(&self) -> String {
        self.0.into()
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let refused = links.iter().filter(|link| !link.address.options.is_empty());
        let mut faults: Vec<_> = refused
            .map(|link| Finding::new(Rule::BadOption, link.record, "has an option", "remove it"))
            .collect();
        if self.0 == "broken" {
            faults.push(Finding::new(Rule::BadConnector, "", "it is broken", ""));
        }
        faults
    }

    fn run(self, _links: Links, _context: RuntimeContext<TestRuntime>) -> Self::Run {
        ready(())
    }
}

fn findings(declare: impl FnOnce(&mut Builder)) -> Findings {
    let (_, mut builder) = builder();
    declare(&mut builder);
    match builder.build() {
        Err(DbError::Build(findings)) => findings,
        other => panic!("no findings: {other:?}"),
    }
}

/// The lines of this file that the finding of `rule` refers to.
fn lines(findings: &Findings, rule: Rule) -> Vec<u32> {
    let finding = findings.iter().find(|finding| finding.rule == rule).expect("a finding");
    let places = finding.locations().iter().map(|location| location.panic_location().unwrap());
    places.inspect(|place| assert_eq!(place.file(), file!())).map(|place| place.line()).collect()
}

/// The lines after `line`, which is `line!()` of a line of the test.
fn after<const N: usize>(line: u32, distances: [u32; N]) -> Vec<u32> {
    distances.map(|distance| line + distance).to_vec()
}

#[test]
fn a_finding_prints_file_line_and_column_of_the_call() {
    let line = line!();
    let findings = findings(|builder| {
        builder.configure::<u32>("mean", |reg| {
            reg.buffer(RING).tap(|_, _| async {}).transform(input::<u32>("temp"), |n| n);
        });
    });
    assert_eq!(
        findings.to_string(),
        format!(
            "the graph has 1 finding; nothing was started\n\n\
             E06 record `mean`: its transform `transform` reads `temp`, which does not exist\n  \
             --> {}:{}:51\n  \
             help: configure it: `builder.configure::<u32>(\"temp\", …)`",
            file!(),
            line + 3
        )
    );
    assert_eq!(
        format!("{:#}", findings.iter().next().unwrap()),
        format!(
            "E06 record `mean`: its transform `transform` reads `temp`, which does not exist; at {}:{}:51; help: \
             configure it: `builder.configure::<u32>(\"temp\", …)`",
            file!(),
            line + 3
        )
    );
}

#[test]
fn a_record_without_a_buffer_refers_to_each_configure_call() {
    let line = line!();
    let found = findings(|builder| {
        for _ in 0..2 {
            builder.configure::<u32>("temp", |_| {});
        }
        builder.configure::<u32>("temp", |_| {});
    });
    assert_eq!(lines(&found, Rule::NoBuffer), after(line, [3, 5]));
}

#[test]
fn a_finding_with_two_ends_refers_to_both() {
    let line = line!();
    let found = findings(|builder| {
        builder.configure::<f32>("mean", |reg| {
            reg.buffer(RING);
            reg.transform(input::<u64>("temp"), |n| n as f32);
            reg.source(|_, _| async {});
            reg.buffer(BufferCfg::latest());
        });
        builder.configure::<u32>("temp", |reg| {
            reg.buffer(BufferCfg::mailbox()).tap(|_, _| async {});
            reg.tap(|_, _| async {});
        });
    });
    assert_eq!(lines(&found, Rule::TwoBuffers), after(line, [3, 6]));
    assert_eq!(lines(&found, Rule::ConflictingWriters), after(line, [4, 5]));
    assert_eq!(lines(&found, Rule::InputType), after(line, [4, 8]));
    assert_eq!(lines(&found, Rule::SeveralTakers), after(line, [4, 9, 10]));

    let line = line!();
    let found = findings(|builder| {
        builder.configure::<u32>("temp", |reg| {
            reg.buffer(RING);
        });
        builder.configure::<f32>("temp", |_| {});
    });
    assert_eq!(lines(&found, Rule::TwoTypes), after(line, [2, 5]));
}

#[test]
fn a_cycle_refers_to_its_transforms_and_to_no_other_stage() {
    let line = line!();
    let found = findings(|builder| {
        builder.configure::<u32>("b", |reg| {
            reg.buffer(RING).transform(input::<u32>("a"), |n| n).tap(|_, _| async {});
        });
        builder.configure::<u32>("a", |reg| {
            reg.buffer(RING);
            reg.transform(input::<u32>("b"), |n| n);
        });
        builder.configure::<u32>("c", |reg| {
            reg.buffer(RING).transform(input::<u32>("a"), |n| n);
        });
    });
    assert_eq!(lines(&found, Rule::Cycle), after(line, [3, 7]));
}

#[test]
fn a_link_and_a_connector_refer_to_their_calls() {
    let line = line!();
    let found = findings(|builder| {
        builder.connector(Fake("broken"));
        builder.connector(Fake("twice"));
        builder.connector(Fake("twice"));
        builder.configure::<u32>("temp", |reg| {
            reg.buffer(RING).source(|_, _| async {});
            reg.link_to("mqtt://t", Json);
            reg.link_to("broken://t?option", Json);
            reg.link_to("no address", Json);
        });
    });
    assert_eq!(lines(&found, Rule::BadConnector), after(line, [2]));
    assert_eq!(lines(&found, Rule::TwoConnectors), after(line, [3, 4]));
    assert_eq!(lines(&found, Rule::UnknownScheme), after(line, [7]));
    assert_eq!(lines(&found, Rule::BadOption), after(line, [8]));
    assert_eq!(lines(&found, Rule::BadAddress), after(line, [9]));
}

#[test]
fn a_buffer_larger_than_the_memory_refers_to_its_call() {
    let line = line!();
    let found = findings(|builder| {
        builder.configure::<[u64; 4]>("wide", |reg| {
            reg.buffer(BufferCfg::ring(usize::MAX));
        });
    });
    assert_eq!(lines(&found, Rule::NoMemory), after(line, [3]));
}

#[test]
fn a_warning_refers_to_the_configure_call_on_one_line_of_the_log() {
    let (runtime, mut builder) = builder();
    let line = line!() + 1;
    builder.configure::<u32>("temp", |reg| {
        reg.buffer(RING).source(|_, _| async {});
    });
    builder.build().unwrap();
    let log = runtime.log_lines();
    assert_eq!(log.len(), 1);
    assert_eq!(
        log[0].message,
        format!(
            "W02 record `temp`: no stage of the graph reads it; at {}:{line}:13; help: add a tap, a transform or a \
             link, or say that `db.consumer(…)` reads it: `.read_from_outside()`",
            file!()
        )
    );
}

#[test]
fn equal_findings_of_two_lines_become_one_with_both_lines() {
    let line = line!();
    let found = findings(|builder| {
        builder.configure::<u32>("mean", |reg| {
            reg.buffer(RING);
            reg.link_to("mqtt://t", Json);
            reg.link_to("mqtt://t", Json);
        });
    });
    assert_eq!(found.len(), 1);
    assert_eq!(lines(&found, Rule::UnknownScheme), after(line, [4, 5]));
}

#[test]
fn a_graph_without_locations_has_findings_without_locations() {
    let found = findings(|builder| {
        builder.without_locations().connector(Fake("broken"));
        builder.configure::<u32>("temp", |reg| {
            reg.tap(|_, _| async {}).named("");
        });
    });
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|finding| finding.locations().is_empty()), "{found}");
    assert_eq!(
        found.to_string(),
        "the graph has 3 findings; nothing was started\n\n\
         E17 it is broken\n\n\
         E01 record `temp`: is used by tap `` but has no buffer\n  \
         help: add `.buffer(BufferCfg::SpmcRing { capacity: 16 })` or another kind\n\n\
         E21 record `temp`: the name of its tap is empty\n  \
         help: write a name, or leave `.named(…)` away"
    );
}

#[test]
fn graphs_and_findings_are_equal_wherever_they_are_declared() {
    let graph = || {
        let (_, mut builder) = builder();
        builder.connector(Fake("fake"));
        builder
    };
    let (mut one, mut other) = (graph(), graph());
    one.configure::<u32>("temp", |reg| {
        reg.buffer(RING).tap(|_, _| async {}).link_to("mqtt://t", Json);
    });
    other.configure::<u32>("temp", |reg| {
        reg.buffer(RING).tap(|_, _| async {}).link_to("mqtt://t", Json);
    });
    let (one, other) = (one.graph(), other.graph());
    assert_eq!(one, other);
    let (one, other) = (one.check().unwrap_err(), other.check().unwrap_err());
    assert_eq!(one, other);
    assert_ne!(one.to_string(), other.to_string());
}
