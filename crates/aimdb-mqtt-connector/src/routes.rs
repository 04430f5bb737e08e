//! The mapping from incoming messages to links.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use aimdb_core::link::InboundLink;

use crate::options::LinkOptions;
use crate::qos::QoS;
use crate::topic::matched_parts;

/// One subscription, and the links it serves.
///
/// Links with the same filter share one subscription, because a broker keeps one subscription for a filter and client.
/// Its QoS is the highest that any of the links asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    /// Indices of the links.
    pub(crate) links: Vec<usize>,
}

/// All subscriptions of a connector. A route's subscription identifier is its index plus one: MQTT does not allow zero.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn new(links: &[InboundLink]) -> Self {
        let mut routes = Self::default();
        for (index, link) in links.iter().enumerate() {
            let options = LinkOptions::from_address(link.address());
            routes.add(index, options.topic, options.qos);
        }
        routes
    }

    fn add(&mut self, link: usize, filter: String, qos: QoS) {
        match self.0.iter_mut().find(|route| route.filter == filter) {
            Some(route) => {
                route.qos = route.qos.max(qos);
                route.links.push(link);
            }
            None => self.0.push(Route { filter, qos, links: vec![link] }),
        }
    }

    /// Each route with its subscription identifier.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Route)> {
        self.0.iter().enumerate().map(|(index, route)| (index + 1, route))
    }

    /// The links that a message is for: those of the subscription identifiers that the broker added to it, else those
    /// whose filter matches its topic.
    ///
    /// An identifier counts only if its filter matches the topic too: a session that the broker kept may contain the
    /// identifiers of an earlier program with other links.
    pub(crate) fn links(&self, identifiers: &[usize], topic: &str) -> Vec<usize> {
        let matching =
            || self.iter().filter(|(_, route)| matched_parts(&route.filter, topic).is_some());
        let links = |(_, route): (usize, &Route)| route.links.clone();
        let named: Vec<usize> =
            matching().filter(|(id, _)| identifiers.contains(id)).flat_map(links).collect();
        if named.is_empty() { matching().flat_map(links).collect() } else { named }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let mut routes = Routes::default();
        routes.add(0, "a/+".into(), QoS::AtMostOnce);
        routes.add(1, "a/b".into(), QoS::AtLeastOnce);
        routes.add(2, "a/+".into(), QoS::ExactlyOnce);
        routes
    }

    #[test]
    fn links_with_one_filter_share_a_subscription_at_the_highest_qos() {
        let routes = routes();
        let all: Vec<_> =
            routes.iter().map(|(id, route)| (id, route.filter.as_str(), route.qos)).collect();
        assert_eq!(all, [(1, "a/+", QoS::ExactlyOnce), (2, "a/b", QoS::AtLeastOnce)]);
    }

    #[test]
    fn a_message_is_for_the_links_of_its_identifiers() {
        assert_eq!(routes().links(&[2], "a/b"), [1]);
        assert_eq!(routes().links(&[1, 2], "a/b"), [0, 2, 1]);
    }

    #[test]
    fn identifiers_of_other_filters_do_not_count() {
        assert_eq!(routes().links(&[2], "a/c"), [0, 2]);
        assert_eq!(routes().links(&[7], "a/b"), [0, 2, 1]);
        assert!(routes().links(&[1], "b").is_empty());
    }

    #[test]
    fn without_identifiers_a_message_is_for_the_links_whose_filter_matches() {
        assert_eq!(routes().links(&[], "a/b"), [0, 2, 1]);
        assert_eq!(routes().links(&[], "a/c"), [0, 2]);
        assert!(routes().links(&[], "b").is_empty());
    }
}
