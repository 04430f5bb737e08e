//! A queue of small values.

use alloc::vec::Vec;

/// A queue that is emptied before it grows long. Without the wrapping of a `VecDeque`, whose code is a tenth of the
/// session's on a microcontroller.
pub(crate) struct Fifo<T> {
    items: Vec<T>,
    /// How many of the items are taken.
    taken: usize,
}

impl<T: Copy> Fifo<T> {
    pub(crate) const fn new() -> Self {
        Self { items: Vec::new(), taken: 0 }
    }

    pub(crate) fn push(&mut self, item: T) {
        // Each item moves once at most for each one that was taken.
        if self.taken > self.items.len() / 2 {
            self.items.copy_within(self.taken.., 0);
            self.items.truncate(self.items.len() - self.taken);
            self.taken = 0;
        }
        self.items.push(item);
    }

    pub(crate) fn front(&self) -> Option<T> {
        self.items.get(self.taken).copied()
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let front = self.front();
        if front.is_some() {
            self.taken += 1;
        } else {
            self.items.clear();
            self.taken = 0;
        }
        front
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.len() == self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_leave_in_the_order_of_their_arrival() {
        let mut fifo = Fifo::new();
        let (mut next, mut expected) = (0, 0);
        for round in 0..200 {
            (0..round % 7).for_each(|_| {
                fifo.push(next);
                next += 1;
            });
            for _ in 0..round % 5 {
                if let Some(item) = fifo.pop() {
                    assert_eq!(item, expected);
                    expected += 1;
                }
            }
            assert_eq!(
                (fifo.is_empty(), fifo.front()),
                (next == expected, (next > expected).then_some(expected))
            );
        }
        assert!(fifo.items.len() <= 2 * (next - expected) + 2);
    }
}
