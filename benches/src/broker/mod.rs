//! The brokers of the MQTT comparisons, with the other end of each: who receives what a contestant sends, who sends what it
//! receives.
//!
//! - [`Mosquitto`]: the real one. It costs several times the processor time of any client, so it bounds the throughput.
//! - [`RawBroker`]: one thread that knows the few packets of a comparison, so that the client bounds the throughput.
//!
//! The other ends implement just enough MQTT 5 to send prepared packets and to count received ones. They are the same for
//! every contestant, and cheap enough not to affect the result.

mod mosquitto;
mod packets;
mod raw;
mod traits;

pub use mosquitto::{Mosquitto, installed};
pub use packets::payload;
pub use raw::RawBroker;
pub use traits::{Broker, Publisher, Subscriber};
