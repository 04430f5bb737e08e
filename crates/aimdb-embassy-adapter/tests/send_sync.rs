//! The adapter and the handles are `Send` and `Sync`, independent of what its stages hold.

use aimdb_core::{AimDb, Consumer, Producer, Reader, RuntimeContext};
use aimdb_embassy_adapter::EmbassyAdapter;
use aimdb_embassy_adapter::spawner::{CheckedSpawner, SendOnlySpawner, UncheckedSpawner};

aimdb_testing::auto_traits! {
    EmbassyAdapter<CheckedSpawner>: has Send, has Sync, has Unpin;
    EmbassyAdapter<SendOnlySpawner>: has Send, has Sync, has Unpin;
    EmbassyAdapter<UncheckedSpawner>: has Send, has Sync, has Unpin;
    AimDb<EmbassyAdapter>: has Send, has Sync, has Unpin;
    RuntimeContext<EmbassyAdapter>: has Send, has Sync, has Unpin;
    Producer<u32, EmbassyAdapter>: has Send, has Sync, has Unpin;
    Consumer<u32, EmbassyAdapter>: has Send, has Sync, has Unpin;
    Reader<u32>: has Send, has Sync, has Unpin;
}
