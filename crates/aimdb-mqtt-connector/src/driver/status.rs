//! The counters of a connector.

use aimdb_core::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counters of a connector that belong to no link.
///
/// A clone shows the same counters; the connector updates them.
///
/// ```
/// use aimdb_mqtt_connector::MqttStatus;
///
/// fn report(status: &MqttStatus) {
///     if status.unrouted() > 0 {
///         println!("{} messages belong to no link", status.unrouted());
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MqttStatus {
    unrouted: Arc<AtomicUsize>,
}

impl MqttStatus {
    /// Messages that belong to no link: a session that the broker kept has a subscription of an earlier program.
    #[must_use]
    pub fn unrouted(&self) -> u64 {
        self.unrouted.load(Relaxed) as u64
    }

    /// Counts one. Returns whether the log should say so: for 1, 2, 4, 8, …
    pub(crate) fn count_unrouted(&self) -> bool {
        // Only the connector's task writes.
        let count = self.unrouted.load(Relaxed).wrapping_add(1);
        self.unrouted.store(count, Relaxed);
        count.is_power_of_two()
    }
}
