//! The values that contestants transport.

use std::fmt;
use std::sync::{Arc, LazyLock};

/// The number that marks the last value of a stream. A lossy buffer always keeps the newest value, so its readers see this
/// one regardless of their losses.
const LAST: u64 = u64::MAX;

/// A type of value that contains a number; a case compares the sums of the sent and the received numbers.
pub trait Payload: Clone + Default + fmt::Debug + Send + Sync + 'static {
    /// The type's name in titles.
    const NAME: &'static str;

    /// Creates a value that contains `n`, or a number that identifies it among its neighbours.
    fn new(n: u64) -> Self;

    /// The number that the value contains.
    fn number(&self) -> u64;

    /// A number computed from all parts of the value, so that a contestant must transport all of them. The harness passes
    /// this number to `black_box` instead of the value: a copy of the value, and the store forwarding that the copy spoils,
    /// would count as the contestant's time.
    #[inline]
    fn digest(&self) -> u64 {
        self.number()
    }

    /// Creates the last value of a stream.
    #[must_use]
    fn last() -> Self {
        Self::new(LAST)
    }

    /// Whether this is the last value of its stream.
    fn is_last(&self) -> bool {
        self.number() == LAST
    }
}

/// 32 bytes, cheap to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Value(pub [u64; 4]);

impl Payload for Value {
    const NAME: &'static str = "32 B";

    #[inline]
    fn new(n: u64) -> Self {
        Self([n; 4])
    }

    #[inline]
    fn number(&self) -> u64 {
        self.0[0]
    }

    #[inline]
    fn digest(&self) -> u64 {
        self.0.iter().fold(0, |digest, part| digest ^ part)
    }
}

/// One KiB by value.
#[derive(Clone, Copy, Debug)]
pub struct Block(pub [u64; 128]);

impl Default for Block {
    fn default() -> Self {
        Self([0; 128])
    }
}

impl Payload for Block {
    const NAME: &'static str = "1 KiB";

    #[inline]
    fn new(n: u64) -> Self {
        Self([n; 128])
    }

    #[inline]
    fn number(&self) -> u64 {
        self.0[0]
    }

    #[inline]
    fn digest(&self) -> u64 {
        self.0.iter().fold(0, |digest, part| digest ^ part)
    }
}

/// One KiB by reference. The [`POOL`] of these is allocated before the measurement, so that no allocation is measured.
#[derive(Clone, Debug)]
pub struct Shared(pub Arc<[u8; 1024]>);

/// The number of different [`Shared`] values, not counting the last of a stream.
pub const POOL: u64 = 256;

static SHARED: LazyLock<Vec<Shared>> =
    LazyLock::new(|| (0..POOL).chain([LAST]).map(Shared::made).collect());

impl Shared {
    fn made(n: u64) -> Self {
        let mut bytes = [0; 1024];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        Self(Arc::new(bytes))
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Payload for Shared {
    const NAME: &'static str = "Arc<[u8; 1024]>";

    #[inline]
    fn new(n: u64) -> Self {
        SHARED[if n == LAST { POOL } else { n % POOL } as usize].clone()
    }

    #[inline]
    fn number(&self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("1024 bytes"))
    }
}

/// `count` values, the last of them marked.
pub fn stream<P: Payload>(count: u64) -> impl Iterator<Item = P> + Send {
    (1..count).map(P::new).chain(std::iter::once_with(P::last))
}

/// The sum of the numbers of such a stream, without the last one's.
#[must_use]
pub fn sum<P: Payload>(count: u64) -> u64 {
    (1..count).map(|n| P::new(n).number()).sum()
}
