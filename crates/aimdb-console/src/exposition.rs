//! The counters in the OpenMetrics text format.

use std::collections::BTreeMap;
use std::fmt;

use aimdb_core::Owner;
use aimdb_core::account::{Account, Party};
use aimdb_core::health::{Health, StageHealth, StageState};
use aimdb_core::loss::Losses;
use aimdb_core::metrics::{LinkMetrics, Metrics};
use axum::extract::State;
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::api::AppState;
use crate::reply::{Refusal, with_type};

/// Prometheus 3 refuses a scrape without it.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) async fn scrape(State(app): AppState) -> Result<Response, Refusal> {
    let db = app.db()?;
    let snapshot = Snapshot { metrics: db.metrics(), health: db.health() };
    drop(db);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    // Writing to a string does not fail.
    _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    Ok(with_type(MEDIA_TYPE, text))
}

/// One scrape.
#[derive(Debug)]
struct Snapshot {
    metrics: Metrics,
    health: Health,
}

/// The labels of one sample.
type Labels<'l> = [(&'static str, &'l str)];

/// One family: its name, its help, its unit, and its samples.
struct Family<'e, 'd> {
    encoder: &'e mut DescriptorEncoder<'d>,
}

impl Family<'_, '_> {
    fn counters<'l, L: AsRef<Labels<'l>>>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            ConstCounter::new(value).encode(family.encode_family(&labels.as_ref())?)?;
        }
        Ok(())
    }

    fn gauges<'l, L: AsRef<Labels<'l>>>(
        &mut self,
        (name, unit): (&str, Option<Unit>),
        help: &str,
        samples: impl Iterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0_f64).metric_type();
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            ConstGauge::new(value).encode(family.encode_family(&labels.as_ref())?)?;
        }
        Ok(())
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { metrics, health } = self;
        let mut all = Family { encoder: &mut encoder };
        let records = || metrics.records.iter();
        let links = || metrics.links.iter();

        all.counters(
            "aimdb_record_produced",
            "Values that the record accepted",
            records().map(|record| ([("record", record.key.as_str())], record.produced)),
        )?;
        all.counters(
            "aimdb_record_filtered",
            "Values of which the record's transforms made none",
            records().map(|record| ([("record", record.key.as_str())], record.filtered)),
        )?;
        all.gauges(
            ("aimdb_record_depth", None),
            "Values in the record's buffer",
            records().map(|record| ([("record", record.key.as_str())], record.depth as f64)),
        )?;
        all.gauges(
            ("aimdb_record_age", Some(Unit::Seconds)),
            "The time since the record's newest value",
            records().filter_map(|record| {
                Some(([("record", record.key.as_str())], record.age(metrics.at)?.as_secs_f64()))
            }),
        )?;
        all.gauges(
            ("aimdb_record_blocked", Some(Unit::Seconds)),
            "The time that writers have waited for room",
            records().map(|record| {
                let waiting = record.blocked.as_ref().map_or(0.0, |it| it.waiting.as_secs_f64());
                ([("record", record.key.as_str())], waiting)
            }),
        )?;
        accounts(&mut all, &merged(&metrics.accounts()))?;
        let readers = readers(metrics);
        let reader_labels = |(record, reader)| [("record", record), ("reader", reader)];
        all.gauges(
            ("aimdb_reader_pending", None),
            "Values that a present reader has yet to take",
            readers.iter().map(|(names, sums)| (reader_labels(*names), sums.0 as f64)),
        )?;
        all.gauges(
            ("aimdb_reader_lagged", None),
            "Values that a present reader lost because they left the buffer first",
            readers.iter().map(|(names, sums)| (reader_labels(*names), sums.1 as f64)),
        )?;
        all.gauges(
            ("aimdb_link_connected", None),
            "Whether a connection serves the link",
            links().map(|link| (link_labels(link), f64::from(u8::from(link.connected)))),
        )?;
        all.counters(
            "aimdb_link_reconnects",
            "Connections of the link after the first one",
            links().map(|link| (link_labels(link), link.reconnects)),
        )?;
        all.gauges(
            ("aimdb_stage_failed", None),
            "Whether the stage has failed for good",
            health.stages.iter().map(|stage| {
                (stage_labels(stage), f64::from(u8::from(stage.state == StageState::Failed)))
            }),
        )?;
        all.counters(
            "aimdb_stage_restarts",
            "Restarts of the stage",
            health.stages.iter().map(|stage| (stage_labels(stage), u64::from(stage.restarts))),
        )
    }
}

fn stage_labels(stage: &StageHealth) -> [(&'static str, &str); 3] {
    let kind = match stage.owner {
        Owner::Record(_) => "record",
        Owner::Connector(_) => "connector",
        _ => "service",
    };
    [("kind", kind), ("owner", stage.owner.name()), ("stage", &stage.stage)]
}

fn link_labels(link: &LinkMetrics) -> [(&'static str, &str); 3] {
    [("record", &link.key), ("link", &link.stage), ("address", &link.address)]
}

/// The record, the kind of the party, and for a link its name.
type AccountLabels<'a> = [(&'static str, &'a str); 3];

/// The numbers of all accounts with the same labels.
///
/// A counter must not fall: the readers of a record, those that have left included, are one party. A reader's own numbers
/// end with it, so they are gauges.
#[derive(Default)]
struct Sums {
    entered: u64,
    delivered: u64,
    held: u64,
    filtered: u64,
    lost: Losses,
}

fn merged(accounts: &[Account]) -> BTreeMap<AccountLabels<'_>, Sums> {
    let mut all = BTreeMap::<_, Sums>::new();
    for account in accounts {
        let sums = all.entry(labels(account)).or_default();
        sums.entered += account.entered;
        sums.delivered += account.delivered;
        sums.held += account.held;
        sums.filtered += account.filtered;
        account.lost.iter().for_each(|(cause, lost)| sums.lost.add(cause, lost));
    }
    all
}

fn accounts(all: &mut Family<'_, '_>, accounts: &BTreeMap<AccountLabels<'_>, Sums>) -> fmt::Result {
    type Number = fn(&Sums) -> u64;
    let numbers: [(&str, &str, Number); 3] = [
        ("aimdb_account_entered", "Values that the party was to have", |account| account.entered),
        ("aimdb_account_delivered", "Values that the party has", |account| account.delivered),
        ("aimdb_account_filtered", "Values that a filter left out", |account| account.filtered),
    ];
    for (name, help, number) in numbers {
        all.counters(name, help, accounts.iter().map(|(labels, sums)| (labels, number(sums))))?;
    }
    all.gauges(
        ("aimdb_account_held", None),
        "Values on their way to the party",
        accounts.iter().map(|(labels, sums)| (labels, sums.held as f64)),
    )?;
    all.counters(
        "aimdb_account_lost",
        "Values that the party lost, by cause",
        accounts.iter().flat_map(|(&[record, kind, link], sums)| {
            sums.lost
                .iter()
                .map(move |(cause, lost)| ([record, kind, link, ("cause", cause.name())], lost))
        }),
    )
}

fn labels(account: &Account) -> AccountLabels<'_> {
    let (kind, link) = match &account.party {
        Party::Link { stage, .. } => ("link", stage.as_str()),
        // A mailbox has one account for all its takers, and a record without a reader one for its values.
        _ => ("readers", ""),
    };
    [("record", account.record.as_str()), ("kind", kind), ("link", link)]
}

/// The present readers of one name: what they have yet to take, and what they lost.
fn readers(metrics: &Metrics) -> BTreeMap<(&str, &str), (u64, u64)> {
    let mut all = BTreeMap::<_, (u64, u64)>::new();
    for record in &metrics.records {
        for reader in &record.readers {
            let sums = all.entry((record.key.as_str(), reader.name.as_str())).or_default();
            sums.0 += reader.pending;
            sums.1 += reader.lagged;
        }
    }
    all
}
