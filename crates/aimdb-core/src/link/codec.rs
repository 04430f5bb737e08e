//! From values to bytes and back.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// A message as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'m> {
    /// The full topic it was published under.
    pub topic: &'m str,
    /// What the subscription's wildcards matched, in order. A multi-level wildcard matches one part with its slashes.
    pub parts: &'m [&'m str],
    /// The bytes.
    pub payload: &'m [u8],
}

/// Why a value or a payload could not be converted. Its text goes into the log and to the dead-letter hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError(String);

impl CodecError {
    /// An error with this text.
    #[must_use]
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for CodecError {}

/// Turns values into payloads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot encode `{T}`",
    note = "`Json` and `Postcard` need `{T}: serde::Serialize`; for anything else use `encode_with(|value, out| …)`"
)]
pub trait Encode<T>: Send + 'static {
    /// Appends `value` to `out`, which is empty and keeps its memory from message to message.
    ///
    /// # Errors
    ///
    /// When the value has no encoding. The message is then counted and skipped.
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// Turns payloads into values.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot decode `{T}`",
    note = "`Json` and `Postcard` need `{T}: serde::de::DeserializeOwned`; for anything else use \
            `decode_with(|message| …)`"
)]
pub trait Decode<T>: Send + 'static {
    /// The value in `message`.
    ///
    /// # Errors
    ///
    /// When it is none. The message is then counted, logged, and given to the dead-letter hook.
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError>;
}

/// A codec from a closure; made by [`encode_with`].
pub struct EncodeFn<F, E>(F, PhantomData<fn() -> E>);

/// A codec from a closure; made by [`decode_with`].
pub struct DecodeFn<F, E>(F, PhantomData<fn() -> E>);

/// An encoder from a closure that appends a value's bytes.
///
/// ```
/// use aimdb_core::encode_with;
///
/// let text = encode_with(|celsius: &f32, out: &mut Vec<u8>| {
///     out.extend_from_slice(format!("{celsius:.1}").as_bytes());
///     Ok::<_, std::fmt::Error>(())
/// });
/// # let _ = text;
/// ```
pub fn encode_with<T, E, F>(encode: F) -> EncodeFn<F, E>
where
    F: FnMut(&T, &mut Vec<u8>) -> Result<(), E> + Send + 'static,
    E: fmt::Display + 'static,
{
    EncodeFn(encode, PhantomData)
}

/// A decoder from a closure that sees the topic, what the wildcards matched, and the payload.
///
/// ```
/// use aimdb_core::{Incoming, decode_with};
///
/// let number = decode_with(|message: &Incoming<'_>| std::str::from_utf8(message.payload).map(str::len));
/// # let _ = number;
/// ```
pub fn decode_with<T, E, F>(decode: F) -> DecodeFn<F, E>
where
    F: FnMut(&Incoming<'_>) -> Result<T, E> + Send + 'static,
    E: fmt::Display + 'static,
{
    DecodeFn(decode, PhantomData)
}

impl<T, E, F> Encode<T> for EncodeFn<F, E>
where
    F: FnMut(&T, &mut Vec<u8>) -> Result<(), E> + Send + 'static,
    E: fmt::Display + 'static,
{
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        (self.0)(value, out).map_err(CodecError::new)
    }
}

impl<T, E, F> Decode<T> for DecodeFn<F, E>
where
    F: FnMut(&Incoming<'_>) -> Result<T, E> + Send + 'static,
    E: fmt::Display + 'static,
{
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError> {
        (self.0)(message).map_err(CodecError::new)
    }
}

impl<F, E> fmt::Debug for EncodeFn<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncodeFn")
    }
}

impl<F, E> fmt::Debug for DecodeFn<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecodeFn")
    }
}

/// JSON text, by `serde_json`.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

#[cfg(feature = "json")]
impl<T: serde::Serialize> Encode<T> for Json {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        write_json(value, out).map_err(CodecError::new)
    }
}

#[cfg(feature = "json")]
impl<T: serde::de::DeserializeOwned> Decode<T> for Json {
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError> {
        serde_json::from_slice(message.payload).map_err(CodecError::new)
    }
}

/// Without std the library writes into a `Vec` of its own only.
#[cfg(all(feature = "json", not(feature = "std")))]
fn write_json<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) -> serde_json::Result<()> {
    out.extend_from_slice(&serde_json::to_vec(value)?);
    Ok(())
}

#[cfg(all(feature = "json", feature = "std"))]
fn write_json<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(out, value)
}

/// Postcard's compact binary form.
///
/// It does not describe itself: a reader with another version of the type may decode nonsense without noticing. Use
/// [`Postcard::version`] where both ends are not built together.
#[cfg(feature = "postcard")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

#[cfg(feature = "postcard")]
impl Postcard {
    /// Postcard behind one byte that both ends must agree on.
    #[must_use]
    pub const fn version(version: u8) -> VersionedPostcard {
        VersionedPostcard { version }
    }
}

/// [`Postcard`] behind a version byte: a payload of another version is a decode error, never a wrong value.
#[cfg(feature = "postcard")]
#[derive(Clone, Copy, Debug)]
pub struct VersionedPostcard {
    version: u8,
}

#[cfg(feature = "postcard")]
impl<T: serde::Serialize> Encode<T> for Postcard {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let extended = postcard::to_extend(value, core::mem::take(out)).map_err(CodecError::new)?;
        *out = extended;
        Ok(())
    }
}

#[cfg(feature = "postcard")]
impl<T: serde::de::DeserializeOwned> Decode<T> for Postcard {
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError> {
        match postcard::take_from_bytes(message.payload).map_err(CodecError::new)? {
            (value, []) => Ok(value),
            (_, rest) => Err(CodecError::new(format_args!("{} bytes too many", rest.len()))),
        }
    }
}

#[cfg(feature = "postcard")]
impl<T: serde::Serialize> Encode<T> for VersionedPostcard {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.push(self.version);
        Postcard.encode(value, out)
    }
}

#[cfg(feature = "postcard")]
impl<T: serde::de::DeserializeOwned> Decode<T> for VersionedPostcard {
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError> {
        match message.payload.split_first() {
            Some((version, payload)) if *version == self.version => {
                Postcard.decode(&Incoming { payload, ..*message })
            }
            Some((version, _)) => {
                Err(CodecError::new(format_args!("version {version} instead of {}", self.version)))
            }
            None => Err(CodecError::new("empty, without a version byte")),
        }
    }
}
