//! The auto traits of every public handle and error. Each line is a promise.

use std::marker::PhantomPinned;
use std::rc::Rc;

use aimdb_sync::{
    AttachOptions, DetachError, GetError, Iter, OpenError, SetError, SetManyError, SyncConsumer,
    SyncHandle, SyncProducer,
};

/// A value that is `Clone + Send + Sync` and not `Unpin`.
#[derive(Clone)]
#[allow(dead_code, reason = "only its type is used")]
struct Value(PhantomPinned);

aimdb_testing::auto_traits! {
    SyncHandle: has Send, has Sync, has Unpin;
    SyncProducer<Value>: has Send, has Sync, has Unpin;
    SyncConsumer<Value>: has Send, has Sync, has Unpin;
    Iter<'static, Value>: has Send, has Sync, has Unpin;
    AttachOptions: has Send, has Sync, has Unpin;

    SetError<u8>: has Send, has Sync, has Unpin;
    SetError<Rc<u8>>: lacks Send, lacks Sync, has Unpin;
    SetManyError: has Send, has Sync, has Unpin;
    GetError: has Send, has Sync, has Unpin;
    OpenError: has Send, has Sync, has Unpin;
    DetachError: has Send, has Sync, has Unpin;
}
