//! Keys and values of records.

use alloc::string::String;

/// The key of a record: a string literal, a `String`, or an enum with `#[derive(RecordKey)]`.
///
/// Two keys name the same record if their [`as_str`](Self::as_str) is equal.
///
/// ```
/// # #[cfg(feature = "derive")] {
/// use aimdb_core::RecordKey;
///
/// #[derive(RecordKey, Clone, Copy, Debug, PartialEq, Eq, Hash)]
/// #[key_prefix = "sensor."]
/// enum SensorKey {
///     #[key = "temp.indoor"]
///     #[link_address = "mqtt://sensors/temp/indoor"]
///     Indoor,
///     #[key = "temp.outdoor"]
///     Outdoor,
/// }
///
/// assert_eq!(SensorKey::Indoor.as_str(), "sensor.temp.indoor");
/// assert_eq!(SensorKey::Indoor.link_address(), Some("mqtt://sensors/temp/indoor"));
/// assert_eq!(SensorKey::Outdoor.link_address(), None);
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name a record",
    note = "use a string literal, a `String`, or an enum with `#[derive(RecordKey)]`"
)]
pub trait RecordKey {
    /// The key as text.
    fn as_str(&self) -> &str;

    /// The address of the link that belongs to this key (`#[link_address = "…"]`), if it has one.
    fn link_address(&self) -> Option<&str> {
        None
    }
}

impl RecordKey for str {
    fn as_str(&self) -> &str {
        self
    }
}

impl RecordKey for String {
    fn as_str(&self) -> &str {
        self
    }
}

impl<K: RecordKey + ?Sized> RecordKey for &K {
    fn as_str(&self) -> &str {
        (**self).as_str()
    }

    fn link_address(&self) -> Option<&str> {
        (**self).link_address()
    }
}

/// A value that a record can hold.
///
/// Every type that can be cloned and shared between threads implements it.
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg, Record, SendRuntime};
/// use std::fmt::Debug;
///
/// #[derive(Clone, Debug)]
/// struct Level {
///     tank: u8,
///     liters: f32,
/// }
///
/// /// A record of any type, with a tap that logs its values.
/// fn logged<T: Record + Debug, R: SendRuntime>(builder: &mut AimDbBuilder<R>, key: &str) {
///     builder.configure::<T>(key, |reg| {
///         reg.buffer(BufferCfg::ring(16))
///             .for_each(|ctx, value| ctx.log().info(format_args!("{value:?}")));
///     });
/// }
///
/// fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
///     logged::<Level, R>(builder, "tank.level");
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a record's value",
    note = "a record's type must be `Clone + Send + Sync + 'static`: readers receive clones, and may run on other threads"
)]
pub trait Record: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Record for T {}
