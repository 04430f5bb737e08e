//! Codecs: from values to bytes and back.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// A message that a connector has received.
///
/// ```
/// use aimdb_core::Incoming;
///
/// // A message of the subscription `home/+/temp`.
/// let message = Incoming::new("home/kitchen/temp", b"21.5").with_parts(&["kitchen"]);
/// assert_eq!(message.parts, ["kitchen"]);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Incoming<'m> {
    /// The full topic of the message.
    pub topic: &'m str,
    /// The parts of the topic that the subscription's wildcards match, in order. A multi-level wildcard matches one
    /// part, which contains slashes.
    pub parts: &'m [&'m str],
    /// The message's bytes.
    pub payload: &'m [u8],
    /// Whether the broker had kept the message before the link subscribed: it may be old. MQTT calls it retained.
    pub retained: bool,
    /// Properties of the payload that the message carries, where the protocol has means for it.
    pub properties: MessageProperties<'m>,
}

/// Properties of a message's payload: the properties of MQTT 5.
///
/// MQTT 3.1.1 and serial lines have none.
///
/// ```
/// use aimdb_core::{CodecError, Incoming, decode_with};
///
/// let text = decode_with(|message: &Incoming<'_>| match message.properties.content_type {
///     None | Some("text/plain") => Ok(String::from_utf8_lossy(message.payload).into_owned()),
///     Some(other) => Err(CodecError::new(format_args!("{other} instead of text"))),
/// });
/// # let _ = text;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageProperties<'m> {
    /// The kind of the payload, for instance a MIME type.
    pub content_type: Option<&'m str>,
    /// The topic on which the sender expects a response.
    pub response_topic: Option<&'m str>,
    /// Bytes that the response must repeat, so that the sender knows its request.
    pub correlation_data: Option<&'m [u8]>,
    /// Names and values that mean something to the programs alone, in the sender's order. A name may occur twice.
    pub user: &'m [(String, String)],
}

impl<'m> MessageProperties<'m> {
    /// The first user property `name`, if there is one.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&'m str> {
        self.user.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl<'m> Incoming<'m> {
    /// Returns a message without parts.
    #[must_use]
    pub const fn new(topic: &'m str, payload: &'m [u8]) -> Self {
        let properties = MessageProperties {
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user: &[],
        };
        Self { topic, parts: &[], payload, retained: false, properties }
    }

    /// Sets the [parts](Self::parts) of the topic that the subscription's wildcards match.
    #[must_use]
    pub const fn with_parts(self, parts: &'m [&'m str]) -> Self {
        Self { parts, ..self }
    }

    /// Sets whether the message was [`retained`](Self::retained).
    #[must_use]
    pub const fn with_retained(self, retained: bool) -> Self {
        Self { retained, ..self }
    }

    /// Sets the message's [`properties`](Self::properties).
    #[must_use]
    pub const fn with_properties(self, properties: MessageProperties<'m>) -> Self {
        Self { properties, ..self }
    }
}

/// The error of a codec.
///
/// Its text appears in the log, in the link's last error, and in the [`DeadLetter`](crate::DeadLetter).
///
/// ```
/// use aimdb_core::{CodecError, Incoming};
///
/// /// Degrees from a text such as `21.5`. `decode_with(celsius)` is the codec.
/// fn celsius(message: &Incoming<'_>) -> Result<f32, CodecError> {
///     let text = std::str::from_utf8(message.payload).map_err(CodecError::new)?;
///     text.parse().map_err(|_| CodecError::new(format_args!("`{text}` is not a number")))
/// }
///
/// let error = celsius(&Incoming::new("room/temp", b"warm")).unwrap_err();
/// assert_eq!(error.to_string(), "`warm` is not a number");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError(String);

impl CodecError {
    /// Returns an error with the text of `reason`.
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

/// A codec that turns values into payloads.
///
/// [`Registrar::link_to`](crate::Registrar::link_to) takes one: [`Json`](crate::Json), [`Postcard`](crate::Postcard),
/// a closure by [`encode_with`], or an implementation of this trait.
///
/// ```
/// use aimdb_core::{CodecError, Encode};
///
/// /// Two bytes, the higher one first.
/// struct BigEndian;
///
/// impl Encode<u16> for BigEndian {
///     fn encode(&mut self, value: &u16, out: &mut Vec<u8>) -> Result<(), CodecError> {
///         out.extend_from_slice(&value.to_be_bytes());
///         Ok(())
///     }
/// }
///
/// let mut payload = Vec::new();
/// BigEndian.encode(&0x0102, &mut payload)?;
/// assert_eq!(payload, [1, 2]);
/// # Ok::<_, CodecError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot encode `{T}`",
    note = "`Json` and `Postcard` need `{T}: serde::Serialize`; for anything else use `encode_with(|value, out| …)`"
)]
pub trait Encode<T>: Send + 'static {
    /// Appends the encoding of `value` to `out`.
    ///
    /// `out` is empty; the link reuses its memory for every message.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the value has no encoding. The link then counts, logs and skips the value.
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The media type of the encoding, which an [exposed](crate::Registrar::expose) record shows.
    fn media_type(&self) -> &'static str {
        "application/octet-stream"
    }
}

/// A codec that turns payloads into values.
///
/// [`Registrar::link_from`](crate::Registrar::link_from) takes one: [`Json`](crate::Json),
/// [`Postcard`](crate::Postcard), a closure by [`decode_with`], or an implementation of this trait.
///
/// ```
/// use aimdb_core::{CodecError, Decode, Incoming};
///
/// /// Accepts a message only if its number is above that of the message before it.
/// #[derive(Default)]
/// struct InOrder {
///     last: Option<u8>,
/// }
///
/// impl Decode<u8> for InOrder {
///     fn decode(&mut self, message: &Incoming<'_>) -> Result<u8, CodecError> {
///         let &[number, value] = message.payload else {
///             return Err(CodecError::new("not two bytes"));
///         };
///         if self.last.replace(number) >= Some(number) {
///             return Err(CodecError::new(format_args!("number {number} is late")));
///         }
///         Ok(value)
///     }
/// }
///
/// let mut codec = InOrder::default();
/// assert_eq!(codec.decode(&Incoming::new("pump", &[1, 7])), Ok(7));
/// assert!(codec.decode(&Incoming::new("pump", &[1, 7])).is_err());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot decode `{T}`",
    note = "`Json` and `Postcard` need `{T}: serde::de::DeserializeOwned`; for anything else use \
            `decode_with(|message| …)`"
)]
pub trait Decode<T>: Send + 'static {
    /// Decodes the value of `message`.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the message has no valid value. The link then counts and logs the message and passes it to the
    /// dead-letter hook.
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError>;
}

/// An encoder made from a closure by [`encode_with`].
pub struct EncodeFn<F, E>(F, PhantomData<fn() -> E>);

/// A decoder made from a closure by [`decode_with`].
pub struct DecodeFn<F, E>(F, PhantomData<fn() -> E>);

/// Returns an encoder made from a closure that appends a value's bytes.
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

/// Returns a decoder made from a closure that reads the topic, its parts, and the payload.
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

/// The encoder of the pair encodes.
impl<T, E: Encode<T>, D: Send + 'static> Encode<T> for (E, D) {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.0.encode(value, out)
    }

    fn media_type(&self) -> &'static str {
        self.0.media_type()
    }
}

/// The decoder of the pair decodes.
impl<T, E: Send + 'static, D: Decode<T>> Decode<T> for (E, D) {
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError> {
        self.1.decode(message)
    }
}

impl<F: Clone, E> Clone for EncodeFn<F, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<F: Clone, E> Clone for DecodeFn<F, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
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

/// The codec for JSON text, by `serde_json`.
///
/// Values must implement `serde::Serialize` to be encoded and `serde::de::DeserializeOwned` to be decoded.
///
/// A floating-point number that JSON does not have (NaN, an infinity) becomes `null`, which does not decode as a number.
/// [`Json.strict()`](Self::strict) refuses such a value instead.
///
/// ```
/// use aimdb_core::{Decode, Encode, Incoming, Json};
///
/// let mut payload = Vec::new();
/// Json.encode(&vec![1.5, 2.0], &mut payload)?;
/// assert_eq!(payload, b"[1.5,2.0]");
/// let values: Vec<f64> = Json.decode(&Incoming::new("topic", &payload))?;
/// assert_eq!(values, [1.5, 2.0]);
/// # Ok::<_, aimdb_core::CodecError>(())
/// ```
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

#[cfg(feature = "json")]
impl Json {
    /// The same codec, but a value with a number that JSON does not have (NaN, an infinity) does not encode.
    ///
    /// ```
    /// use aimdb_core::{Encode, Json};
    ///
    /// let mut payload = Vec::new();
    /// assert!(Json.encode(&f32::NAN, &mut payload).is_ok(), "`null`, which does not decode as a number");
    /// assert!(Json.strict().encode(&f32::NAN, &mut payload).is_err());
    /// ```
    #[must_use]
    pub const fn strict(self) -> StrictJson {
        StrictJson(())
    }
}

#[cfg(feature = "json")]
const JSON: &str = "application/json";

/// The codec that [`Json::strict`] returns.
///
/// ```
/// use aimdb_core::{Decode, Encode, Incoming, Json};
///
/// let mut payload = Vec::new();
/// Json.strict().encode(&21.5, &mut payload)?;
/// let celsius: f64 = Json.strict().decode(&Incoming::new("room", &payload))?;
/// assert_eq!(celsius, 21.5);
/// # Ok::<_, aimdb_core::CodecError>(())
/// ```
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug)]
pub struct StrictJson(());

#[cfg(feature = "json")]
impl<T: serde::Serialize> Encode<T> for StrictJson {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        super::finite::check(value).map_err(CodecError::new)?;
        Json.encode(value, out)
    }

    fn media_type(&self) -> &'static str {
        JSON
    }
}

#[cfg(feature = "json")]
impl<T: serde::de::DeserializeOwned> Decode<T> for StrictJson {
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError> {
        Json.decode(message)
    }
}

#[cfg(feature = "json")]
impl<T: serde::Serialize> Encode<T> for Json {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        write_json(value, out).map_err(CodecError::new)
    }

    fn media_type(&self) -> &'static str {
        JSON
    }
}

#[cfg(feature = "json")]
impl<T: serde::de::DeserializeOwned> Decode<T> for Json {
    fn decode(&mut self, message: &Incoming<'_>) -> Result<T, CodecError> {
        serde_json::from_slice(message.payload).map_err(CodecError::new)
    }
}

/// Without `std`, `serde_json` can only write to a `Vec` of its own.
#[cfg(all(feature = "json", not(feature = "std")))]
fn write_json<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) -> serde_json::Result<()> {
    out.extend_from_slice(&serde_json::to_vec(value)?);
    Ok(())
}

#[cfg(all(feature = "json", feature = "std"))]
fn write_json<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(out, value)
}

/// The codec for Postcard's compact binary format.
///
/// The format does not describe itself: a decoder with another version of the type may return a wrong value without an
/// error. Use [`Postcard::version`] if both ends are not built together.
///
/// ```
/// use aimdb_core::{Decode, Encode, Incoming, Postcard};
///
/// let mut payload = Vec::new();
/// Postcard::version(1).encode(&7_u32, &mut payload)?;
/// let message = Incoming::new("topic", &payload);
/// let value: u32 = Postcard::version(1).decode(&message)?;
/// assert_eq!(value, 7);
/// let refused: Result<u32, _> = Postcard::version(2).decode(&message);
/// assert_eq!(refused.unwrap_err().to_string(), "version 1 instead of 2");
/// # Ok::<_, aimdb_core::CodecError>(())
/// ```
#[cfg(feature = "postcard")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

#[cfg(feature = "postcard")]
impl Postcard {
    /// Returns a codec that puts one version byte before the encoded value.
    #[must_use]
    pub const fn version(version: u8) -> VersionedPostcard {
        VersionedPostcard { version }
    }
}

/// The [`Postcard`] codec with a version byte before the value.
///
/// A payload of another version is a decode error, never a wrong value. [`Postcard::version`] returns it.
///
/// ```
/// use aimdb_core::link::VersionedPostcard;
/// use aimdb_core::{AimDbBuilder, BufferCfg, Postcard, Runtime};
///
/// /// The codec of both ends. A change of the record's type takes the next number.
/// const CODEC: VersionedPostcard = Postcard::version(3);
///
/// fn graph<R: Runtime>(builder: &mut AimDbBuilder<R>) {
///     builder.configure::<(u32, f32)>("order", |reg| {
///         reg.buffer(BufferCfg::queue(8)).link_from("mqtt://orders?qos=1", CODEC);
///     });
/// }
/// ```
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

    fn media_type(&self) -> &'static str {
        "application/postcard"
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

    fn media_type(&self) -> &'static str {
        "application/x-versioned-postcard"
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
