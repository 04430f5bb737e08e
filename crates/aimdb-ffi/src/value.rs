//! Values of records that C can use: bytes of one size, or a JSON string.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use aimdb_core::{CodecError, Decode, Encode, Incoming, Record};
use serde::de::IgnoredAny;

use crate::status::{Failure, aimdb_status::AIMDB_NOT_JSON};

/// A value of a record that C can use.
pub(crate) trait RecordValue: Record {
    /// The media type of a value's payload. `None`: it has none, so that such records have no links.
    const MEDIA_TYPE: Option<&'static str> = Some("application/octet-stream");

    /// The bytes that a callback may read: `size` bytes, valid as long as `self`, and aligned as [`aimdb_tap_fn`] says.
    ///
    /// [`aimdb_tap_fn`]: crate::aimdb_tap_fn
    fn as_bytes(&self, size: usize) -> &[MaybeUninit<u8>];

    /// Appends the payload for a link.
    ///
    /// # Errors
    ///
    /// When the type has no payloads.
    fn encode(&self, size: usize, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Decodes the payload of a link.
    ///
    /// # Errors
    ///
    /// When the payload is not a value of this type.
    fn decode(payload: &[u8], size: usize) -> Result<Self, CodecError>;
}

/// The media type of JSON.
pub(crate) const JSON: &str = "application/json";

/// The payloads of a record's values, of this many bytes each: for its links, and for whoever looks by key.
#[derive(Clone, Copy)]
pub(crate) struct Payloads {
    pub(crate) size: usize,
}

impl<T: RecordValue> Encode<T> for Payloads {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        value.encode(self.size, out)
    }

    fn media_type(&self) -> &'static str {
        T::MEDIA_TYPE.unwrap_or_default()
    }
}

impl<T: RecordValue> Decode<T> for Payloads {
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError> {
        T::decode(message.payload, self.size)
    }
}

/// A fixed-size byte value.
///
/// # Safety
///
/// [`read`](Self::read) reads and [`write`](Self::write) writes at most `size` bytes, aligned or not.
pub(crate) unsafe trait FixedBytes: RecordValue {
    /// Copies the value from memory of C's.
    ///
    /// # Safety
    ///
    /// `size` bytes can be read at `from`, and are a value of this type.
    unsafe fn read(from: *const u8, size: usize) -> Self;

    /// Copies the value to memory of C's.
    ///
    /// # Safety
    ///
    /// `size` bytes can be written at `to`.
    unsafe fn write(&self, to: *mut u8, size: usize);
}

/// The alignment of byte values on every target: C types of up to 8 bytes, and structs of them, need no more.
const ALIGN: usize = 8;

/// Up to `N` bytes, stored in place, so that a value needs no allocation. Bytes that C left uninitialised (padding) stay
/// uninitialised.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct InlineBytes<const N: usize>([MaybeUninit<u8>; N]);

// SAFETY: each copy has at most `size` bytes, and at most `N`.
unsafe impl<const N: usize> FixedBytes for InlineBytes<N> {
    #[inline]
    unsafe fn read(from: *const u8, size: usize) -> Self {
        // Checked for each `N` in use.
        const { assert!(align_of::<Self>() == ALIGN && size_of::<Self>() == N) };
        let mut bytes = Self([MaybeUninit::uninit(); N]);
        // SAFETY: guaranteed by the caller. In the first branch the compiler knows the size of the copy.
        unsafe {
            if size == N {
                ptr::copy_nonoverlapping(from, bytes.0.as_mut_ptr().cast(), N);
            } else {
                ptr::copy_nonoverlapping(from, bytes.0.as_mut_ptr().cast(), size.min(N));
            }
        }
        bytes
    }

    #[inline]
    unsafe fn write(&self, to: *mut u8, size: usize) {
        // SAFETY: guaranteed by the caller. The copy is of `MaybeUninit` bytes, so uninitialised ones are allowed.
        unsafe {
            if size == N {
                ptr::copy_nonoverlapping(self.0.as_ptr(), to.cast(), N);
            } else {
                ptr::copy_nonoverlapping(self.0.as_ptr(), to.cast(), size.min(N));
            }
        }
    }
}

/// Appends the bytes of a value to a payload, padding included.
fn append_bytes(bytes: &[MaybeUninit<u8>], out: &mut Vec<u8>) {
    // SAFETY: the bytes are copied from memory of C's, where every byte has some value, even if C did not choose it. Each
    // byte is read on its own and volatile, so that the compiler concludes nothing from its value.
    out.extend(bytes.iter().map(|byte| unsafe { byte.as_ptr().read_volatile() }));
}

/// Makes a value of the bytes of a payload.
///
/// # Safety
///
/// Any bytes are a value of `T`.
unsafe fn value_from_payload<T: FixedBytes>(payload: &[u8], size: usize) -> Result<T, CodecError> {
    if payload.len() != size {
        let actual = payload.len();
        let problem =
            format_args!("the payload has {actual} bytes, but the record's values have {size}");
        return Err(CodecError::new(problem));
    }
    // SAFETY: the payload has `size` bytes, and they are a value.
    Ok(unsafe { T::read(payload.as_ptr(), size) })
}

impl<const N: usize> RecordValue for InlineBytes<N> {
    fn as_bytes(&self, size: usize) -> &[MaybeUninit<u8>] {
        &self.0[..size.min(N)]
    }

    fn encode(&self, size: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        append_bytes(self.as_bytes(size), out);
        Ok(())
    }

    fn decode(payload: &[u8], size: usize) -> Result<Self, CodecError> {
        // SAFETY: any bytes are a value.
        unsafe { value_from_payload(payload, size) }
    }
}

/// A value too large to be copied into the buffer: one allocation, which its readers share.
///
/// The allocation consists of words, not of single bytes, so that a value is aligned as [`InlineBytes`] are. An allocation
/// of single bytes has the alignment that the allocator chooses, and behind the counters of an `Arc` that is 4 where a
/// pointer has 4 bytes. The unused rest of the last word stays uninitialised.
#[derive(Clone)]
pub(crate) struct SharedBytes(Arc<[Word]>);

/// The unit of a shared allocation.
type Word = InlineBytes<8>;

impl SharedBytes {
    fn all_bytes(&self) -> &[MaybeUninit<u8>] {
        // SAFETY: words have no padding between them, and their bytes need not be initialised.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), size_of_val(&*self.0)) }
    }
}

// SAFETY: each copy has at most `size` bytes, and at most as many as the allocation.
unsafe impl FixedBytes for SharedBytes {
    unsafe fn read(from: *const u8, size: usize) -> Self {
        const { assert!(align_of::<Word>() == ALIGN) };
        let mut words = Arc::new_uninit_slice(size.div_ceil(size_of::<Word>()));
        let to: *mut [MaybeUninit<Word>] =
            Arc::get_mut(&mut words).expect("a new Arc has one reference");
        // SAFETY: the caller guarantees `size` readable bytes, and the words have room for them. A word may be uninitialised.
        unsafe {
            ptr::copy_nonoverlapping(from, to.cast(), size);
            Self(words.assume_init())
        }
    }

    unsafe fn write(&self, to: *mut u8, size: usize) {
        let bytes = self.all_bytes();
        // SAFETY: guaranteed by the caller.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), size.min(bytes.len())) };
    }
}

impl RecordValue for SharedBytes {
    fn as_bytes(&self, size: usize) -> &[MaybeUninit<u8>] {
        let bytes = self.all_bytes();
        &bytes[..size.min(bytes.len())]
    }

    fn encode(&self, size: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        append_bytes(self.as_bytes(size), out);
        Ok(())
    }

    fn decode(payload: &[u8], size: usize) -> Result<Self, CodecError> {
        // SAFETY: any bytes are a value.
        unsafe { value_from_payload(payload, size) }
    }
}

/// A string of valid JSON.
#[derive(Clone)]
pub(crate) struct JsonString(Arc<CStr>);

impl JsonString {
    /// Checks and copies a string.
    ///
    /// # Errors
    ///
    /// When the string is not JSON.
    pub(crate) fn new(json: &str) -> Result<Self, Failure> {
        let refused = |why: &dyn std::fmt::Display| Failure::new(AIMDB_NOT_JSON, why);
        serde_json::from_str::<IgnoredAny>(json).map_err(|error| refused(&error))?;
        // Valid JSON contains no NUL.
        let string = CString::new(json).map_err(|error| refused(&error))?;
        Ok(Self(string.into()))
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        &self.0
    }
}

impl RecordValue for JsonString {
    const MEDIA_TYPE: Option<&'static str> = Some(JSON);

    fn as_bytes(&self, _: usize) -> &[MaybeUninit<u8>] {
        let bytes = self.0.to_bytes();
        // SAFETY: initialised bytes are valid `MaybeUninit` bytes. The NUL stays behind them, as `aimdb_tap_fn` promises.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
    }

    fn encode(&self, _: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(self.0.to_bytes());
        Ok(())
    }

    fn decode(payload: &[u8], _: usize) -> Result<Self, CodecError> {
        let json = std::str::from_utf8(payload).map_err(CodecError::new)?;
        Self::new(json).map_err(|failure| CodecError::new(failure.message()))
    }
}

/// A Rust type whose values are records for C; implemented by [`export_record!`](crate::export_record).
///
/// # Safety
///
/// The type is `#[repr(C)]`, and any bytes that the C struct of the same fields can have are a value of it.
pub unsafe trait Exported: Record + Copy {
    /// The name of the type in C: `struct` and the name.
    const NAME: &'static str;

    /// Whether values have payloads; only such records have links.
    const HAS_PAYLOADS: bool;

    /// Appends the payload for a link.
    ///
    /// # Errors
    ///
    /// When the type has no payloads.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Decodes the payload of a link.
    ///
    /// # Errors
    ///
    /// When the payload is not a value of this type.
    fn decode(payload: &[u8]) -> Result<Self, CodecError>;
}

// SAFETY: `size` is the size of the type, and the copy has exactly this size.
unsafe impl<T: Exported> FixedBytes for T {
    #[inline]
    unsafe fn read(from: *const u8, _: usize) -> Self {
        // SAFETY: guaranteed by the caller, and any bytes are a value.
        unsafe { from.cast::<T>().read_unaligned() }
    }

    #[inline]
    unsafe fn write(&self, to: *mut u8, _: usize) {
        // SAFETY: guaranteed by the caller. The copy is of raw bytes, so padding is allowed.
        unsafe { ptr::copy_nonoverlapping(ptr::from_ref(self).cast::<u8>(), to, size_of::<T>()) };
    }
}

impl<T: Exported> RecordValue for T {
    const MEDIA_TYPE: Option<&'static str> = if T::HAS_PAYLOADS { Some(JSON) } else { None };

    fn as_bytes(&self, size: usize) -> &[MaybeUninit<u8>] {
        // SAFETY: a value consists of `size_of::<T>()` bytes, some of which may be padding.
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
        // The type must give the alignment; the address alone may be aligned by luck of the allocator.
        fn is_aligned<T>(_: &Arc<[T]>) -> bool {
            align_of::<T>() == ALIGN
        }
        let bytes: Vec<u8> = (0..5000).map(|n| (n % 251) as u8).collect();
        for size in (1025..1042).chain([4095, 4096, 4097, 5000]) {
            // SAFETY: `bytes` has 5,000 bytes.
            let value = unsafe { SharedBytes::read(bytes.as_ptr(), size) };
            assert!(is_aligned(&value.0));
            let seen = value.as_bytes(size);
            assert_eq!((seen.len(), seen.as_ptr().addr() % ALIGN), (size, 0));
            let mut back = [0xee; 5001];
            // SAFETY: `back` has room for 5,001 bytes.
            unsafe { value.write(back.as_mut_ptr(), size) };
            assert_eq!((&back[..size], back[size]), (&bytes[..size], 0xee));
            let mut payload = Vec::new();
            RecordValue::encode(&value, size, &mut payload).unwrap();
            assert_eq!(payload, bytes[..size]);
        }
    }
}
