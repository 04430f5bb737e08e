//! The options of a link, parsed from its address.
//!
//! An option that the connector would ignore is refused.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use aimdb_core::Address;
use aimdb_core::link::LinkRequest;
use aimdb_core::{Finding, Rule};

use crate::qos::QoS;
use crate::topic::{filter_fault, topic_fault};

/// A link's topic and options, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkOptions {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl LinkOptions {
    /// The options of an address in which [`check`] found no fault.
    pub(crate) fn from_address(address: &Address) -> Self {
        let mut faults = Vec::new();
        let options = parse(address, true, &mut faults);
        debug_assert!(faults.is_empty(), "checked when the graph was built");
        options
    }
}

/// The findings about one link: its options and its topic.
pub(crate) fn check(link: &LinkRequest<'_>) -> Vec<Finding> {
    let mut faults = Vec::new();
    parse(link.address, link.direction.is_outbound(), &mut faults);
    let mut findings: Vec<Finding> = faults
        .into_iter()
        .map(|(problem, remedy)| {
            Finding::new(Rule::BadOption, link.record, locate(link, &problem), remedy)
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
    Some(Finding::new(
        Rule::BadTopic,
        link.record,
        locate(link, &format!("the topic {fault}")),
        remedy,
    ))
}

/// `problem`, preceded by the link that has it.
fn locate(link: &LinkRequest<'_>, problem: &str) -> String {
    let direction = if link.direction.is_outbound() { "link to" } else { "link from" };
    format!("in its {direction} `{}` {problem}", link.address)
}

type Fault = (String, &'static str);

fn parse(address: &Address, outbound: bool, faults: &mut Vec<Fault>) -> LinkOptions {
    let mut options =
        LinkOptions { topic: address.topic.clone(), qos: QoS::AtMostOnce, retain: false };
    for (index, (name, value)) in address.options.iter().enumerate() {
        if address.options[..index].iter().any(|(earlier, _)| earlier == name) {
            faults.push((format!("the option `{name}` is set twice"), "keep one of them"));
        }
        match name.as_str() {
            "qos" => options.qos = parse_qos(value, faults),
            "retain" if outbound => options.retain = parse_flag(value, faults),
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

fn parse_qos(value: &str, faults: &mut Vec<Fault>) -> QoS {
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

fn parse_flag(value: &str, faults: &mut Vec<Fault>) -> bool {
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
