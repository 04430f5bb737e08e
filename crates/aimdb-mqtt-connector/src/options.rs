//! The options of a link, parsed from its address.
//!
//! An option that the connector would ignore is refused.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use aimdb_core::Address;
use aimdb_core::link::LinkRequest;
use aimdb_core::{Finding, Rule};

use aimdb_mqtt_protocol::{MessageProperties, QoS, RetainHandling, SubscribeOptions, Version};

use crate::topic::{filter_fault, text_fault, topic_fault};

/// A link's topic and options, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkOptions {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: MessageProperties,
    subscribe: SubscribeOptions,
}

impl LinkOptions {
    /// The options of an address in which [`check`] found no fault.
    pub(crate) fn from_address(address: &Address) -> Self {
        parse(address, None, &mut Vec::new())
    }

    /// The options of the link's subscription.
    pub(crate) fn subscribe(&self) -> SubscribeOptions {
        let mut options = self.subscribe;
        options.qos = self.qos;
        options
    }
}

/// The findings about one link: its options and its topic.
pub(crate) fn check(link: &LinkRequest<'_>, version: Version) -> Vec<Finding> {
    let mut faults = Vec::new();
    parse(link.address, Some((link.direction.is_outbound(), version)), &mut faults);
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

/// The options that only one direction has, and those that MQTT 3.1.1 does not have.
const OUTBOUND: [&str; 4] = ["retain", "expiry", "content_type", "property"];
const INBOUND: [&str; 3] = ["no_local", "retain_as_published", "retain_handling"];

/// Parses an address. With a direction and a version it also finds the options that these do not have.
fn parse(
    address: &Address,
    checked: Option<(bool, Version)>,
    faults: &mut Vec<Fault>,
) -> LinkOptions {
    let mut options = LinkOptions {
        topic: address.topic.clone(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: MessageProperties::new(),
        subscribe: SubscribeOptions::default(),
    };
    for (index, (name, value)) in address.options.iter().enumerate() {
        let name = name.as_str();
        let twice = address.options[..index].iter().any(|(earlier, _)| earlier == name);
        if twice && name != "property" {
            faults.push((format!("the option `{name}` is set twice"), "keep one of them"));
        }
        if let Some((outbound, version)) = checked
            && let Some(fault) = misplaced(name, outbound, version)
        {
            faults.push(fault);
            continue;
        }
        if matches!(name, "content_type" | "property")
            && let Some(fault) = text_fault(value)
        {
            faults.push((format!("the option `{name}` {fault}"), "brokers do not accept it"));
        }
        let flag = |faults: &mut Vec<Fault>| parse_flag(name, value, faults);
        match name {
            "qos" => options.qos = parse_qos(value, faults),
            "retain" => options.retain = flag(faults),
            "no_local" => options.subscribe.no_local = flag(faults),
            "retain_as_published" => options.subscribe.retain_as_published = flag(faults),
            "retain_handling" => {
                options.subscribe.retain_handling = match value.as_str() {
                    "0" => RetainHandling::Always,
                    "1" => RetainHandling::IfNew,
                    "2" => RetainHandling::Never,
                    _ => {
                        let problem = format!("the option `retain_handling` is `{value}`");
                        faults.push((
                            problem,
                            "it can be 0 (always), 1 (new subscriptions), 2 (never)",
                        ));
                        RetainHandling::Always
                    }
                }
            }
            "expiry" => match value.parse() {
                Ok(seconds) => _ = options.properties.expiry(seconds),
                Err(_) => faults.push((
                    format!("the option `expiry` is `{value}`"),
                    "it is a number of seconds, 0 to 4294967295",
                )),
            },
            "content_type" => _ = options.properties.content_type(value),
            "property" => match value.split_once(':') {
                Some((name, value)) if !name.is_empty() => _ = options.properties.user(name, value),
                _ => faults.push((
                    format!("the option `property` is `{value}`"),
                    "it is a name and a value: `property=unit:kelvin`",
                )),
            },
            _ => {}
        }
    }
    if options.subscribe.no_local && address.topic.starts_with("$share/") {
        faults.push((
            "a shared subscription has `no_local`, which MQTT forbids".into(),
            "remove the option, or the `$share/…/` before the filter",
        ));
    }
    options
}

/// Why a link in this direction does not have the option, if it does not.
fn misplaced(name: &str, outbound: bool, version: Version) -> Option<Fault> {
    let (known, other) =
        if outbound { (&OUTBOUND[..], &INBOUND[..]) } else { (&INBOUND[..], &OUTBOUND[..]) };
    if name == "qos" || name == "retain" && outbound {
        return None;
    }
    if known.contains(&name) {
        return (version != Version::V5).then(|| {
            (
                format!("the option `{name}` needs MQTT 5"),
                "remove it, or choose MQTT 5 with `.version(…)`",
            )
        });
    }
    if name == "retain" {
        return Some((
            "the option `retain` means nothing".into(),
            "the publisher decides what is retained: remove it here",
        ));
    }
    if other.contains(&name) {
        let remedy = match outbound {
            true => "it is for links that receive: remove it here",
            false => "it is for links that send: remove it here",
        };
        return Some((format!("the option `{name}` means nothing"), remedy));
    }
    let remedy = match outbound {
        true => "there are `qos`, `retain`, `expiry`, `content_type` and `property`",
        false => "there are `qos`, `no_local`, `retain_as_published` and `retain_handling`",
    };
    Some((format!("the option `{name}` is unknown"), remedy))
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

fn parse_flag(name: &str, value: &str, faults: &mut Vec<Fault>) -> bool {
    match value {
        "" | "true" => true,
        "false" => false,
        _ => {
            faults
                .push((format!("the option `{name}` is `{value}`"), "it can be `true` or `false`"));
            false
        }
    }
}
