//! What contestants carry.

use std::fmt;
use std::sync::{Arc, LazyLock};

/// The number that marks the last value of a stream: a lossy buffer always keeps the newest, so that its readers see the
/// end whatever they have lost.
const LAST: u64 = u64::MAX;

/// A kind of value, with a number in it by which a case can tell that what came out is what went in.
pub trait Payload: Clone + Default + fmt::Debug + Send + Sync + 'static {
    /// As titles call it.
    const NAME: &'static str;

    /// A value with `n` in it, or with what identifies it among its neighbours.
    fn new(n: u64) -> Self;

    /// The number in it.
    fn number(&self) -> u64;

    /// The last of a stream.
    #[must_use]
    fn last() -> Self {
        Self::new(LAST)
    }

    /// Whether it is the last of its stream.
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
}

/// One KiB by reference. There are [`POOL`] of them, made beforehand, so that sending is measured and not allocating.
#[derive(Clone, Debug)]
pub struct Shared(pub Arc<[u8; 1024]>);

/// How many different [`Shared`] there are, beside the last.
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

/// What the numbers of such a stream add up to, without the last one's.
#[must_use]
pub fn sum<P: Payload>(count: u64) -> u64 {
    (1..count).map(|n| P::new(n).number()).sum()
}
