//! The findings about the links of one connector.

use alloc::format;
use alloc::vec::Vec;

use aimdb_core::link::LinkRequest;
use aimdb_core::{Finding, Rule};
use aimdb_mqtt_protocol::{QoS, Version};

use crate::options::{self, LinkOptions};
use crate::topic::matched_parts;

/// The findings about each link, and about records whose own messages return to them.
pub(crate) fn links(links: &[LinkRequest<'_>], version: Version) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        links.iter().flat_map(|link| options::check(link, version)).collect();
    if findings.is_empty() {
        findings.extend(links.iter().filter_map(|link| find_loop(link, links, version)));
        findings.extend(links.iter().enumerate().filter_map(|(at, link)| {
            links[..at].iter().find_map(|earlier| differing_options(earlier, link))
        }));
    }
    findings
}

/// Two links with one filter share the broker's subscription, so they have its options in common.
fn differing_options(first: &LinkRequest<'_>, second: &LinkRequest<'_>) -> Option<Finding> {
    let outbound = first.direction.is_outbound() || second.direction.is_outbound();
    if outbound || first.address.topic != second.address.topic {
        return None;
    }
    let options = |link: &LinkRequest<'_>| {
        let mut options = LinkOptions::from_address(link.address).subscribe();
        options.qos = QoS::AtMostOnce;
        options
    };
    if options(first) == options(second) {
        return None;
    }
    let problem = format!(
        "its link from `{}` and the link from `{}` of `{}` have one filter and different options: a broker has one \
         subscription for both",
        second.address, first.address, first.record
    );
    let remedy = "give both the same `no_local`, `retain_as_published` and `retain_handling`";
    Some(Finding::new(Rule::BadOption, second.record, problem, remedy))
}

/// A record that receives what it sends: each value would return, be sent again, and so on without end.
fn find_loop(
    outbound: &LinkRequest<'_>,
    links: &[LinkRequest<'_>],
    version: Version,
) -> Option<Finding> {
    if !outbound.direction.is_outbound() || outbound.computed_topic {
        return None;
    }
    let topic = &outbound.address.topic;
    let returns = |link: &&LinkRequest<'_>| {
        !link.direction.is_outbound()
            && link.record == outbound.record
            && matched_parts(&link.address.topic, topic).is_some()
            && !LinkOptions::from_address(link.address).subscribe().no_local
    };
    let inbound = links.iter().find(returns)?;
    let problem = format!(
        "its link to `{}` sends what its link from `{}` receives: each value would return without end",
        outbound.address, inbound.address
    );
    let remedy = match version {
        Version::V5 => "add `no_local` to the link that receives, or use two topics",
        #[allow(unreachable_patterns, reason = "there is one more version with the feature `v311`")]
        _ => "use two topics, or MQTT 5 and its option `no_local`",
    };
    Some(Finding::new(Rule::BadTopic, outbound.record, problem, remedy))
}
