//! What a record holds, as C sees it: bytes of one size, or a text of JSON.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use aimdb_core::{CodecError, Record};
use serde::de::IgnoredAny;

use crate::status::{Failure, aimdb_status::AIMDB_NOT_JSON};

/// A value of a record that C can use.
pub(crate) trait Content: Record {
    /// Whether it has payloads, so that links are for it.
    const HAS_PAYLOADS: bool = true;

    /// How it is lent to a callback: `size` bytes, valid while `self` is, and aligned as [`aimdb_tap_fn`] says.
    ///
    /// [`aimdb_tap_fn`]: crate::aimdb_tap_fn
    fn lend(&self, size: usize) -> &[MaybeUninit<u8>];

    /// Its payload for a link.
    ///
    /// # Errors
    ///
    /// When it has none.
    fn encode(&self, size: usize, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value in a link's payload.
    ///
    /// # Errors
    ///
    /// When there is none in it.
    fn decode(payload: &[u8], size: usize) -> Result<Self, CodecError>;
}

/// A value that is so many bytes, whatever they mean.
///
/// # Safety
///
/// [`read`](Self::read) reads and [`write`](Self::write) writes `size` bytes at most, aligned or not.
pub(crate) unsafe trait Plain: Content {
    /// Takes the value from C.
    ///
    /// # Safety
    ///
    /// `size` bytes can be read at `from`, and are a value of this type.
    unsafe fn read(from: *const u8, size: usize) -> Self;

    /// Gives the value to C.
    ///
    /// # Safety
    ///
    /// `size` bytes can be written at `to`.
    unsafe fn write(&self, to: *mut u8, size: usize);
}

/// How values of bytes are aligned, on every target: C's types of up to 8 bytes, and structs of them, need no more.
const ALIGN: usize = 8;

/// Up to `N` bytes of a record that was defined at run time, in place: no allocation for each value. What C has left
/// unset in them (padding) stays unset.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Block<const N: usize>([MaybeUninit<u8>; N]);

// SAFETY: no more than `size` bytes are copied, and never more than there is room for.
unsafe impl<const N: usize> Plain for Block<N> {
    #[inline]
    unsafe fn read(from: *const u8, size: usize) -> Self {
        // Of each size that there is.
        const { assert!(align_of::<Self>() == ALIGN && size_of::<Self>() == N) };
        let mut block = Self([MaybeUninit::uninit(); N]);
        // SAFETY: as the caller says. The first branch is a copy of a size that the compiler knows.
        unsafe {
            if size == N {
                ptr::copy_nonoverlapping(from, block.0.as_mut_ptr().cast(), N);
            } else {
                ptr::copy_nonoverlapping(from, block.0.as_mut_ptr().cast(), size.min(N));
            }
        }
        block
    }

    #[inline]
    unsafe fn write(&self, to: *mut u8, size: usize) {
        // SAFETY: as above. Copied as bytes that may be unset.
        unsafe {
            if size == N {
                ptr::copy_nonoverlapping(self.0.as_ptr(), to.cast(), N);
            } else {
                ptr::copy_nonoverlapping(self.0.as_ptr(), to.cast(), size.min(N));
            }
        }
    }
}

/// Bytes that are all set, as a payload.
fn bytes_out(bytes: &[MaybeUninit<u8>], out: &mut Vec<u8>) {
    // SAFETY: what C hands over is memory of its own, whose bytes all have some value, if not one it has chosen. They are
    // read one by one, and volatile, so that nothing is concluded from what they are.
    out.extend(bytes.iter().map(|byte| unsafe { byte.as_ptr().read_volatile() }));
}

/// The value that is a payload's bytes.
///
/// # Safety
///
/// Any bytes are a value.
unsafe fn bytes_in<T: Plain>(payload: &[u8], size: usize) -> Result<T, CodecError> {
    if payload.len() != size {
        let came = payload.len();
        return Err(CodecError::new(format_args!("{came} bytes came, and its values have {size}")));
    }
    // SAFETY: so many bytes are there, and are a value.
    Ok(unsafe { T::read(payload.as_ptr(), size) })
}

impl<const N: usize> Content for Block<N> {
    fn lend(&self, size: usize) -> &[MaybeUninit<u8>] {
        &self.0[..size.min(N)]
    }

    fn encode(&self, size: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        bytes_out(self.lend(size), out);
        Ok(())
    }

    fn decode(payload: &[u8], size: usize) -> Result<Self, CodecError> {
        // SAFETY: any bytes are a value.
        unsafe { bytes_in(payload, size) }
    }
}

/// The bytes of a value too large to be copied from hand to hand; one allocation for each value, shared by its readers. They
/// stand in words, so that they are aligned as a [`Block`] is: an allocation of single bytes is as aligned as the allocator
/// likes, and behind the counters of an `Arc` that is 4 where a pointer has 4 bytes. The last word's rest stays unset.
#[derive(Clone)]
pub(crate) struct Shared(Arc<[Word]>);

/// What a large value is made of.
type Word = Block<8>;

impl Shared {
    fn bytes(&self) -> &[MaybeUninit<u8>] {
        // SAFETY: words have no padding between them, and no byte of them needs to be set.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), size_of_val(&*self.0)) }
    }
}

// SAFETY: no more than `size` bytes are copied, and never more than there are.
unsafe impl Plain for Shared {
    unsafe fn read(from: *const u8, size: usize) -> Self {
        const { assert!(align_of::<Word>() == ALIGN) };
        let mut words = Arc::new_uninit_slice(size.div_ceil(size_of::<Word>()));
        let to: *mut [MaybeUninit<Word>] =
            Arc::get_mut(&mut words).expect("it is shared with nobody yet");
        // SAFETY: the caller lends so many bytes, and there is room for them. Words that are unset are words all the same.
        unsafe {
            ptr::copy_nonoverlapping(from, to.cast(), size);
            Self(words.assume_init())
        }
    }

    unsafe fn write(&self, to: *mut u8, size: usize) {
        let bytes = self.bytes();
        // SAFETY: as the caller says.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), size.min(bytes.len())) };
    }
}

impl Content for Shared {
    fn lend(&self, size: usize) -> &[MaybeUninit<u8>] {
        let bytes = self.bytes();
        &bytes[..size.min(bytes.len())]
    }

    fn encode(&self, size: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        bytes_out(self.lend(size), out);
        Ok(())
    }

    fn decode(payload: &[u8], size: usize) -> Result<Self, CodecError> {
        // SAFETY: any bytes are a value.
        unsafe { bytes_in(payload, size) }
    }
}

/// A text that is JSON, whichever.
#[derive(Clone)]
pub(crate) struct Text(Arc<CStr>);

impl Text {
    /// # Errors
    ///
    /// When it is not JSON.
    pub(crate) fn new(json: &str) -> Result<Self, Failure> {
        let refused = |why: &dyn std::fmt::Display| Failure::new(AIMDB_NOT_JSON, why);
        serde_json::from_str::<IgnoredAny>(json).map_err(|error| refused(&error))?;
        // JSON has no NUL.
        let text = CString::new(json).map_err(|error| refused(&error))?;
        Ok(Self(text.into()))
    }

    pub(crate) fn as_c(&self) -> &CStr {
        &self.0
    }
}

impl Content for Text {
    fn lend(&self, _: usize) -> &[MaybeUninit<u8>] {
        let bytes = self.0.to_bytes();
        // SAFETY: bytes that are set are bytes that may be unset. The NUL behind them stays where it is.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
    }

    fn encode(&self, _: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(self.0.to_bytes());
        Ok(())
    }

    fn decode(payload: &[u8], _: usize) -> Result<Self, CodecError> {
        let text = std::str::from_utf8(payload).map_err(CodecError::new)?;
        Self::new(text).map_err(|failure| CodecError::new(failure.message()))
    }
}

/// Lets a type of Rust's be a record for C: implemented by [`export_record!`](crate::export_record).
///
/// # Safety
///
/// The type is `#[repr(C)]`, and any bytes that C's struct of the same fields can have are a value of it.
pub unsafe trait Exported: Record + Copy {
    /// What it is called in C: `struct` and the name.
    const NAME: &'static str;

    /// Whether it has payloads, so that links are for it.
    const HAS_PAYLOADS: bool;

    /// Its payload for a link.
    ///
    /// # Errors
    ///
    /// When it has none.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value in a link's payload.
    ///
    /// # Errors
    ///
    /// When there is none in it.
    fn decode(payload: &[u8]) -> Result<Self, CodecError>;
}

// SAFETY: `size` is no more than the type has, and the copy is one of the type's own.
unsafe impl<T: Exported> Plain for T {
    #[inline]
    unsafe fn read(from: *const u8, _: usize) -> Self {
        // SAFETY: as the caller says, and any bytes are a value.
        unsafe { from.cast::<T>().read_unaligned() }
    }

    #[inline]
    unsafe fn write(&self, to: *mut u8, _: usize) {
        // SAFETY: as the caller says. Copied as bytes, some of which may be padding.
        unsafe { ptr::copy_nonoverlapping(ptr::from_ref(self).cast::<u8>(), to, size_of::<T>()) };
    }
}

impl<T: Exported> Content for T {
    const HAS_PAYLOADS: bool = T::HAS_PAYLOADS;

    fn lend(&self, size: usize) -> &[MaybeUninit<u8>] {
        // SAFETY: a value is so many bytes, some of which may be padding.
        unsafe { std::slice::from_raw_parts(ptr::from_ref(self).cast(), size.min(size_of::<T>())) }
    }

    fn encode(&self, _: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Exported::encode(self, out)
    }

    fn decode(payload: &[u8], _: usize) -> Result<Self, CodecError> {
        Exported::decode(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_value_is_aligned_by_its_type_and_whole_at_every_size() {
        // By its type, not by what the allocator happens to give.
        fn is_aligned<T>(_: &Arc<[T]>) -> bool {
            align_of::<T>() == ALIGN
        }
        let bytes: Vec<u8> = (0..5000).map(|n| (n % 251) as u8).collect();
        for size in (1025..1042).chain([4095, 4096, 4097, 5000]) {
            // SAFETY: so many bytes are there.
            let value = unsafe { Shared::read(bytes.as_ptr(), size) };
            assert!(is_aligned(&value.0));
            let lent = value.lend(size);
            assert_eq!((lent.len(), lent.as_ptr().addr() % ALIGN), (size, 0));
            let mut back = [0xee; 5001];
            // SAFETY: there is room for so many.
            unsafe { value.write(back.as_mut_ptr(), size) };
            assert_eq!((&back[..size], back[size]), (&bytes[..size], 0xee));
            let mut payload = Vec::new();
            Content::encode(&value, size, &mut payload).unwrap();
            assert_eq!(payload, bytes[..size]);
        }
    }
}
