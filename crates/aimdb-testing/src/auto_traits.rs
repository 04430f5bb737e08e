//! A table of what may cross threads.

/// Checks at compile time which of `Send`, `Sync` and `Unpin` types and values have, and which they lack.
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
/// // Futures of async functions have no name.
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

/// `_` in `Ambiguous<_>` cannot be inferred if both impls apply, that is, if the type has the trait.
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
