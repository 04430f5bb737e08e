//! What may cross threads: the adapter and the handles may, whatever its stages hold.

use aimdb_core::{AimDb, Consumer, Producer, Reader, RuntimeContext};
use aimdb_embassy_adapter::EmbassyAdapter;
use aimdb_embassy_adapter::home::{Anywhere, Here, Promised};

aimdb_testing::auto_traits! {
    EmbassyAdapter<Here>: has Send, has Sync, has Unpin;
    EmbassyAdapter<Anywhere>: has Send, has Sync, has Unpin;
    EmbassyAdapter<Promised>: has Send, has Sync, has Unpin;
    AimDb<EmbassyAdapter>: has Send, has Sync, has Unpin;
    RuntimeContext<EmbassyAdapter>: has Send, has Sync, has Unpin;
    Producer<u32, EmbassyAdapter>: has Send, has Sync, has Unpin;
    Consumer<u32, EmbassyAdapter>: has Send, has Sync, has Unpin;
    Reader<u32>: has Send, has Sync, has Unpin;
}
