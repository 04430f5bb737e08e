//! What a link asks for, read from its address. Whatever is not acted on is refused.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use aimdb_core::Address;
use aimdb_core::link::LinkRequest;
use aimdb_core::{Finding, Rule};

use crate::QoS;
use crate::topic::{filter_fault, topic_fault};

/// A link's options, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkOptions {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl LinkOptions {
    /// The options of an address that [`check`] has passed.
    pub(crate) fn of(address: &Address) -> Self {
        let mut faults = Vec::new();
        let options = read(address, true, &mut faults);
        debug_assert!(faults.is_empty(), "checked when the graph was built");
        options
    }
}

/// Everything that is wrong with one link.
pub(crate) fn check(link: &LinkRequest<'_>) -> Vec<Finding> {
    let mut faults = Vec::new();
    read(link.address, link.direction.is_outbound(), &mut faults);
    let mut findings: Vec<Finding> = faults
        .into_iter()
        .map(|(problem, remedy)| {
            Finding::new(Rule::BadOption, link.record, on(link, &problem), remedy)
        })
        .collect();
    findings.extend(topic_finding(link));
    findings
}

fn topic_finding(link: &LinkRequest<'_>) -> Option<Finding> {
    if link.computed_topic {
        return None;
    }
    let (fault, remedy) = if link.direction.is_outbound() {
        (
            topic_fault(&link.address.topic)?,
            "name the topic to publish to, for instance `sensors/temp/indoor`",
        )
    } else {
        (
            filter_fault(&link.address.topic)?,
            "name the topics to subscribe to, for instance `commands/+/set`",
        )
    };
    Some(Finding::new(Rule::BadTopic, link.record, on(link, &format!("the topic {fault}")), remedy))
}

/// `the problem`, with the link it stands on.
fn on(link: &LinkRequest<'_>, problem: &str) -> String {
    let direction = if link.direction.is_outbound() { "link to" } else { "link from" };
    format!("in its {direction} `{}` {problem}", link.address)
}

type Fault = (String, &'static str);

fn read(address: &Address, outbound: bool, faults: &mut Vec<Fault>) -> LinkOptions {
    let mut options =
        LinkOptions { topic: address.topic.clone(), qos: QoS::AtMostOnce, retain: false };
    for (at, (name, value)) in address.options.iter().enumerate() {
        if address.options[..at].iter().any(|(earlier, _)| earlier == name) {
            faults.push((format!("the option `{name}` stands twice"), "keep one of them"));
        }
        match name.as_str() {
            "qos" => options.qos = read_qos(value, faults),
            "retain" if outbound => options.retain = read_flag(value, faults),
            "retain" => faults.push((
                "the option `retain` means nothing".into(),
                "the publisher decides what is retained: remove it here",
            )),
            _ => faults.push((
                format!("the option `{name}` is unknown"),
                if outbound { "there are `qos` and `retain`" } else { "there is `qos`" },
            )),
        }
    }
    options
}

fn read_qos(value: &str, faults: &mut Vec<Fault>) -> QoS {
    match value {
        "0" => QoS::AtMostOnce,
        "1" => QoS::AtLeastOnce,
        "2" => QoS::ExactlyOnce,
        _ => {
            faults.push((format!("the option `qos` is `{value}`"), "it can be 0, 1 or 2"));
            QoS::AtMostOnce
        }
    }
}

fn read_flag(value: &str, faults: &mut Vec<Fault>) -> bool {
    match value {
        "" | "true" => true,
        "false" => false,
        _ => {
            faults
                .push((format!("the option `retain` is `{value}`"), "it can be `true` or `false`"));
            false
        }
    }
}
