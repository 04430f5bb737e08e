//! Sorting, once for all: `slice::sort` and `BTreeMap` are compiled anew for each type they are used with, 3 to 5 KB of a
//! microcontroller's flash every time. Here what is sorted is always places in a list.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::graph::node::{Graph, RecordNode};

/// The places `0..count`, sorted; equals stay in order.
pub(super) fn sorted_places(
    count: usize,
    compare: &dyn Fn(usize, usize) -> Ordering,
) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    #[cfg(feature = "std")]
    places.sort_by(|&a, &b| compare(a, b));
    // Few records, and 2 KB of flash.
    #[cfg(not(feature = "std"))]
    for sorted in 1..count {
        let place = places[sorted];
        let at = places[..sorted].partition_point(|&other| compare(other, place).is_le());
        places.copy_within(at..sorted, at + 1);
        places[at] = place;
    }
    places
}

/// The items, sorted; equals stay in order.
pub(super) fn sorted<I>(items: Vec<I>, compare: impl Fn(&I, &I) -> Ordering) -> Vec<I> {
    let places = sorted_places(items.len(), &|a, b| compare(&items[a], &items[b]));
    let mut items: Vec<Option<I>> = items.into_iter().map(Some).collect();
    places.into_iter().filter_map(|place| items[place].take()).collect()
}

/// The items' names as a finding lists them: in an order that does not depend on the order of registration.
pub(super) fn listed<I>(items: &[I], between: &str, name: &dyn Fn(&I) -> String) -> String {
    let mut names = Vec::new();
    for item in items {
        names.push(name(item));
    }
    sorted(names, Ord::cmp).join(between)
}

/// A graph's records by their keys. Where one key has two types, the first in the order of the types' names stands for both.
pub(super) struct ByKey<'g> {
    pub(super) graph: &'g Graph,
    /// RecordIndex in [`Graph::records`].
    pub(super) places: Vec<usize>,
}

impl<'g> ByKey<'g> {
    pub(super) fn of(graph: &'g Graph) -> Self {
        let records = &graph.records;
        let places = sorted_places(records.len(), &|a, b| {
            let (a, b) = (&records[a], &records[b]);
            (&a.key, a.value.name).cmp(&(&b.key, b.value.name))
        });
        Self { graph, places }
    }

    /// The records with this key: several only if it has several types.
    pub(super) fn all(&self, key: &str) -> Vec<&'g RecordNode> {
        let mut all = Vec::new();
        if let Some(first) = self.find_place(key) {
            let records = self.places[first..].iter().map(|&place| &self.graph.records[place]);
            all.extend(records.take_while(|record| record.key == key));
        }
        all
    }

    pub(super) fn find(&self, key: &str) -> Option<usize> {
        Some(self.places[self.find_place(key)?])
    }

    fn find_place(&self, key: &str) -> Option<usize> {
        let key_at = |place: &usize| self.graph.records[*place].key.as_str();
        let first = self.places.partition_point(|place| key_at(place) < key);
        (key_at(self.places.get(first)?) == key).then_some(first)
    }
}
