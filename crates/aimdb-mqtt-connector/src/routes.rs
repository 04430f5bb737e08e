//! Which messages belong to which links.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use aimdb_core::link::InboundLink;

use crate::QoS;
use crate::options::LinkOptions;
use crate::topic::matched_parts;

/// One subscription, and the links it serves. Links with the same filter share one, because a broker keeps one
/// subscription for a filter and client, at the highest QoS that any of them asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    /// Indices of links.
    pub(crate) links: Vec<usize>,
}

/// All subscriptions of a connection. A route's index plus one is its identifier.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn new(links: &[InboundLink]) -> Self {
        let mut routes = Self::default();
        for (at, link) in links.iter().enumerate() {
            let options = LinkOptions::of(link.address());
            routes.add(at, options.topic, options.qos);
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Route)> {
        self.0.iter().enumerate().map(|(at, route)| (at + 1, route))
    }

    /// The links a message is for: by the identifiers the broker put on it, else by its topic. An identifier alone is
    /// no proof: a session that the broker kept may have those of an earlier program with other links.
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
    fn a_message_goes_where_its_identifiers_say() {
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
    fn without_identifiers_a_message_goes_where_its_topic_fits() {
        assert_eq!(routes().links(&[], "a/b"), [0, 2, 1]);
        assert_eq!(routes().links(&[], "a/c"), [0, 2]);
        assert!(routes().links(&[], "b").is_empty());
    }
}
