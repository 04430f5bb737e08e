//! From a received message to its links.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use aimdb_core::link::InboundLink;
use aimdb_mqtt_protocol::{Received, SubscribeOptions};

use crate::options::LinkOptions;
use crate::topic::{matched_parts, without_group};

/// How many retained messages of a connection are known. Of a broker that has more, links may get some of them several
/// times.
const MAX_RETAINED: usize = 4096;

/// One subscription. Links with the same filter share it.
pub(crate) struct Route {
    pub(crate) filter: String,
    /// The subscription identifier.
    pub(crate) identifier: usize,
    pub(crate) options: SubscribeOptions,
    /// Indices of the links.
    pub(crate) links: Vec<usize>,
}

/// The highest subscription identifier.
const MAX_IDENTIFIER: usize = 268_435_455;

/// All subscriptions of a connector.
#[derive(Default)]
pub(crate) struct Routes {
    routes: Vec<Route>,
    /// Indices of the routes, by their identifiers.
    identified: BTreeMap<usize, usize>,
    /// The identifiers are hashes of the filters, for a session that outlives this program: a message that the broker
    /// kept for an earlier version has the identifier of the same filter, or none that is known.
    lasting: bool,
    /// Indices of the routes whose filter has no wildcard, by the topic.
    exact: BTreeMap<String, usize>,
    /// Indices of the other routes.
    wild: Vec<usize>,
    /// The retained messages of this connection, by a hash of topic and payload, where the broker sends no identifiers.
    retained: BTreeSet<u64>,
    /// Some subscription asks for the publisher's flag.
    retain_as_published: bool,
    /// The broker began the session for this program: each identifier in it is one of these routes.
    pub(crate) own_session: bool,
}

impl Routes {
    /// The routes of the links. `lasting`: their session outlives this program.
    pub(crate) fn new<'l>(links: impl Iterator<Item = &'l InboundLink>, lasting: bool) -> Self {
        let mut routes = Self { lasting, ..Self::default() };
        for (index, link) in links.enumerate() {
            let options = LinkOptions::from_address(link.address());
            let subscribe = options.subscribe();
            routes.add(index, options.topic, subscribe);
        }
        routes
    }

    fn add(&mut self, link: usize, filter: String, options: SubscribeOptions) {
        self.retain_as_published |= options.retain_as_published;
        if let Some(route) = self.routes.iter_mut().find(|route| route.filter == filter) {
            route.options.qos = route.options.qos.max(options.qos);
            route.links.push(link);
            return;
        }
        let index = self.routes.len();
        let plain = without_group(&filter);
        match plain.contains(['+', '#']) {
            true => self.wild.push(index),
            false if self.exact.contains_key(plain) => self.wild.push(index),
            false => _ = self.exact.insert(plain.into(), index),
        }
        let mut identifier = match self.lasting {
            true => hash(&filter, &[]) as usize % MAX_IDENTIFIER + 1,
            false => index + 1,
        };
        while self.identified.contains_key(&identifier) {
            identifier = identifier % MAX_IDENTIFIER + 1;
        }
        self.identified.insert(identifier, index);
        self.routes.push(Route { filter, identifier, options, links: alloc::vec![link] });
    }

    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn get(&self, route: usize) -> &Route {
        &self.routes[route]
    }

    pub(crate) fn links(&self, route: usize) -> impl Iterator<Item = usize> {
        self.routes[route].links.iter().copied()
    }

    /// Begins a connection: the broker sends the retained messages again.
    pub(crate) fn connected(&mut self) {
        self.retained.clear();
    }

    /// Writes the links of a message to `links`: those of the subscription identifiers that the broker added to it,
    /// else those whose filter matches its topic.
    ///
    /// In a session of this program an identifier is proof, also where the broker delivers under another topic than the
    /// filter's. In a session that the broker kept for an earlier program it counts only if the filter matches: a filter
    /// of that program may have the same hash.
    ///
    /// Without identifiers, a broker sends a retained message once for each of several filters that match it; all links
    /// have it after the first. Returns whether the message belongs to a link, also to one that has it.
    pub(crate) fn find(&mut self, message: &Received<'_>, links: &mut Vec<usize>) -> bool {
        links.clear();
        let mut identified = false;
        for identifier in message.properties.subscriptions() {
            let Some(&route) = self.identified.get(&identifier) else { continue };
            let route = &self.routes[route];
            if self.own_session || matched_parts(&route.filter, message.topic).is_some() {
                identified = true;
                links.extend_from_slice(&route.links);
            }
        }
        if identified {
            return true;
        }
        self.matching(message.topic, links);
        let belongs = !links.is_empty();
        // Where the flag is the publisher's, it means nothing here.
        if message.retain && links.len() > 1 && !self.retain_as_published {
            let hash = hash(message.topic, message.payload);
            if self.retained.contains(&hash) {
                links.clear();
            } else if self.retained.len() < MAX_RETAINED {
                self.retained.insert(hash);
            }
        }
        belongs
    }

    /// Writes the links whose filter matches `topic` to `links`.
    pub(crate) fn matching(&self, topic: &str, links: &mut Vec<usize>) {
        if let Some(&route) = self.exact.get(topic) {
            links.extend_from_slice(&self.routes[route].links);
        }
        for &route in &self.wild {
            if matched_parts(&self.routes[route].filter, topic).is_some() {
                links.extend_from_slice(&self.routes[route].links);
            }
        }
    }
}

/// FNV-1a.
fn hash(topic: &str, payload: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    topic.as_bytes().iter().chain(&[0]).chain(payload).fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use aimdb_mqtt_protocol::QoS;

    use super::*;

    fn routes() -> Routes {
        let mut routes = Routes::default();
        routes.add(0, "a/+".into(), SubscribeOptions::new(QoS::AtMostOnce));
        routes.add(1, "a/b".into(), SubscribeOptions::new(QoS::AtLeastOnce));
        routes.add(2, "a/+".into(), SubscribeOptions::new(QoS::ExactlyOnce));
        routes
    }

    #[test]
    fn links_with_one_filter_share_a_subscription_at_the_highest_qos() {
        let routes = routes();
        let all: Vec<_> =
            routes.routes.iter().map(|route| (route.filter.as_str(), route.options.qos)).collect();
        assert_eq!(all, [("a/+", QoS::ExactlyOnce), ("a/b", QoS::AtLeastOnce)]);
    }

    #[test]
    fn a_message_is_for_the_links_whose_filter_matches() {
        let links = |topic| {
            let mut links = Vec::new();
            routes().matching(topic, &mut links);
            links
        };
        assert_eq!(links("a/b"), [1, 0, 2]);
        assert_eq!(links("a/c"), [0, 2]);
        assert!(links("b").is_empty());
    }
}
