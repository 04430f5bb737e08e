//! The tap.

use aimdb::{Consumer, EmbassyAdapter, RuntimeContext};

use crate::show::show;

pub(crate) async fn listen(
    _: RuntimeContext<EmbassyAdapter>,
    count: Consumer<u32, EmbassyAdapter>,
) {
    let Ok(mut reader) = count.subscribe() else { return };
    while let Ok(count) = reader.recv().await {
        show(count);
    }
}
