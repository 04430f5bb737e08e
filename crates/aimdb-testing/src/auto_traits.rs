//! A table of auto traits.

/// Asserts at compile time which of `Send`, `Sync` and `Unpin` types have and lack.
///
/// A line is a promise: a change of an auto trait no longer compiles.
///
/// ```
/// use std::cell::Cell;
/// use std::future::{Ready, ready};
///
/// aimdb_testing::auto_traits! {
///     Cell<u8>: has Send, lacks Sync, has Unpin;
///     Ready<u8>: has Send, has Sync, has Unpin;
/// }
///
/// // The future of an async function has no name: the table takes a value.
/// aimdb_testing::auto_traits! {
///     async { ready(1).await } => has Send, has Sync, lacks Unpin;
/// }
/// ```
#[macro_export]
macro_rules! auto_traits {
    ($($ty:ty: $send:ident Send, $sync:ident Sync, $unpin:ident Unpin;)*) => {
        const _: fn() = || {
            $(
                $crate::__auto_trait!($send $ty, Send);
                $crate::__auto_trait!($sync $ty, Sync);
                $crate::__auto_trait!($unpin $ty, Unpin);
            )*
        };
    };
    ($($value:expr => $send:ident Send, $sync:ident Sync, $unpin:ident Unpin;)*) => {$({
        let value = $value;
        $crate::__auto_trait!($send of value, Send);
        $crate::__auto_trait!($sync of value, Sync);
        $crate::__auto_trait!($unpin of value, Unpin);
    })*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __auto_trait {
    (has of $value:ident, $bound:ident) => {{
        fn check<T: $bound>(_: &T) {}
        check(&$value);
    }};
    (lacks of $value:ident, $bound:ident) => {{
        $crate::__ambiguous!($bound);
        Ambiguous::<_>::probe(&$value);
    }};
    (has $ty:ty, $bound:ident) => {{
        fn check<T: ?Sized + $bound>() {}
        check::<$ty>();
    }};
    (lacks $ty:ty, $bound:ident) => {{
        $crate::__ambiguous!($bound);
        let _ = <$ty as Ambiguous<_>>::probe;
    }};
}

/// The compiler infers `_` in `Ambiguous<_>` only if one impl applies: if the type lacks the trait.
#[doc(hidden)]
#[macro_export]
macro_rules! __ambiguous {
    ($bound:ident) => {
        struct Has;
        trait Ambiguous<M> {
            fn probe(&self) {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $bound> Ambiguous<Has> for T {}
    };
}
