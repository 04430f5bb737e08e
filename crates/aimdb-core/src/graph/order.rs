//! The records of a graph by their keys.

use alloc::vec::Vec;

use super::node::{Graph, RecordNode};
use super::sort::sorted_indices;

/// The records of a graph by their keys.
///
/// A key with several types has several records. The first by the name of its type then represents the key.
pub(super) struct ByKey<'g> {
    pub(super) graph: &'g Graph,
    /// Indices into [`Graph::records`], sorted by key and by the name of the type.
    pub(super) indices: Vec<usize>,
}

impl<'g> ByKey<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let records = &graph.records;
        let indices = sorted_indices(records.len(), &|a, b| {
            let (a, b) = (&records[a], &records[b]);
            (&a.key, a.value.name).cmp(&(&b.key, b.value.name))
        });
        Self { graph, indices }
    }

    /// The records with this key; several only if the key has several types.
    pub(super) fn all(&self, key: &str) -> Vec<&'g RecordNode> {
        let mut all = Vec::new();
        if let Some(first) = self.first_with(key) {
            let records = self.indices[first..].iter().map(|&index| &self.graph.records[index]);
            all.extend(records.take_while(|record| record.key == key));
        }
        all
    }

    /// The index of the record that represents `key`.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        Some(self.indices[self.first_with(key)?])
    }

    fn first_with(&self, key: &str) -> Option<usize> {
        let key_at = |index: &usize| self.graph.records[*index].key.as_str();
        let first = self.indices.partition_point(|index| key_at(index) < key);
        (key_at(self.indices.get(first)?) == key).then_some(first)
    }
}
