//! Sorting that costs little flash.
//!
//! `slice::sort` and `BTreeMap` are compiled once for each type that they are used with, 3 to 5 KB of a
//! microcontroller's flash every time. The checks therefore sort indices into a list, and only those.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// The indices `0..count`, sorted by `compare`. Equal entries stay in order.
pub(super) fn sorted_indices(
    count: usize,
    compare: &dyn Fn(usize, usize) -> Ordering,
) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..count).collect();
    #[cfg(feature = "std")]
    indices.sort_by(|&a, &b| compare(a, b));
    // Insertion sort: a microcontroller has few records, and `sort_by` would take 2 KB of flash.
    #[cfg(not(feature = "std"))]
    for sorted in 1..count {
        let index = indices[sorted];
        let at = indices[..sorted].partition_point(|&other| compare(other, index).is_le());
        indices.copy_within(at..sorted, at + 1);
        indices[at] = index;
    }
    indices
}

/// The items, sorted by `compare`. Equal items stay in order.
pub(super) fn sorted<I>(items: Vec<I>, compare: impl Fn(&I, &I) -> Ordering) -> Vec<I> {
    let indices = sorted_indices(items.len(), &|a, b| compare(&items[a], &items[b]));
    let mut items: Vec<Option<I>> = items.into_iter().map(Some).collect();
    indices.into_iter().filter_map(|index| items[index].take()).collect()
}

/// The items' names, sorted and joined, so that the order of registration does not show in a finding.
pub(super) fn join_sorted<I>(items: &[I], separator: &str, name: &dyn Fn(&I) -> String) -> String {
    let mut names = Vec::new();
    for item in items {
        names.push(name(item));
    }
    sorted(names, Ord::cmp).join(separator)
}
