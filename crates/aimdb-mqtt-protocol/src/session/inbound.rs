//! Received messages at QoS 1 and 2, until their acknowledgements.

use alloc::vec::Vec;

use super::output::Output;
use crate::error::Malformed;
use crate::message::{QoS, Receipt};
use crate::reason::Reason;

/// By how much a broker may exceed the receive maximum. Mosquitto 2.0.11 does after an outage: with a limit of 20 it sent
/// 393 messages at once.
const EXCESS: usize = 64;

/// The received messages at QoS 1 and 2 without an acknowledgement.
///
/// A message that the broker sends again after a broken connection is recognised by its identifier, its topic and its
/// payload: it is no event then, and the receipt that the program has counts for it.
#[derive(Default)]
pub(crate) struct Inbound {
    /// In the order of arrival.
    messages: Vec<Unacknowledged>,
    /// Identifiers of messages at QoS 2 for which PUBREC was sent and PUBREL has not arrived.
    unreleased: Vec<u16>,
    /// How many messages the broker may have sent without an answer.
    limit: usize,
    last_receipt: u32,
}

struct Unacknowledged {
    receipt: u32,
    id: u16,
    qos: QoS,
    hash: u32,
    /// The program has the message.
    stored: bool,
    /// The present connection has delivered it: only then the broker expects the acknowledgement.
    current: bool,
}

/// Whether a message is new.
pub(crate) enum Novelty {
    New(Option<Receipt>),
    Known,
}

/// A hash (FNV-1a) that distinguishes messages with the same identifier.
pub(crate) fn hash(topic: &[u8], payload: &[u8]) -> u32 {
    // Of a long payload some bytes suffice. Its length keeps `ab` + `c` apart from `a` + `bc`.
    let some = payload.iter().step_by(payload.len() / 128 + 1);
    let mut hash = 0x811c_9dc5 ^ payload.len() as u32;
    for byte in topic.iter().chain(some) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    hash
}

impl Inbound {
    pub(crate) fn begin(&mut self, receive_maximum: u16) {
        self.limit = usize::from(receive_maximum.max(1)).saturating_mul(EXCESS);
    }

    pub(crate) fn connection_lost(&mut self) {
        self.messages.iter_mut().for_each(|message| message.current = false);
    }

    /// The broker has forgotten everything: what it sends from now on is new.
    pub(crate) fn session_lost(&mut self) {
        self.messages.clear();
        self.unreleased.clear();
    }

    pub(crate) fn receive(
        &mut self,
        qos: QoS,
        id: u16,
        hash: u32,
        connected: bool,
        output: &mut Output,
    ) -> Result<Novelty, Malformed> {
        if qos == QoS::AtMostOnce {
            return Ok(Novelty::New(None));
        }
        if qos == QoS::ExactlyOnce && self.unreleased.contains(&id) {
            if connected {
                put_ack(output, 0x50, id);
            }
            return Ok(Novelty::Known);
        }
        // All messages share the identifiers: one of the other QoS is gone.
        if let Some(index) = self.messages.iter().position(|message| message.id == id) {
            let known = &mut self.messages[index];
            let same = known.qos == qos && known.hash == hash;
            let current = core::mem::replace(&mut known.current, true);
            if !(same && current) {
                // At the place of its second arrival, which is where the broker expects the acknowledgement.
                let known = self.messages.remove(index);
                if same {
                    self.messages.push(known);
                }
            }
            if same {
                if connected {
                    self.send_acknowledgements(output);
                }
                return Ok(Novelty::Known);
            }
        }
        if self.messages.len() >= self.limit {
            // The broker sends its unanswered messages first: one of an earlier connection is gone.
            let Some(gone) = self.messages.iter().position(|message| !message.current) else {
                return Err(Malformed::ReceiveMaximum);
            };
            self.messages.remove(gone);
        }
        self.last_receipt = self.last_receipt.wrapping_add(1);
        let receipt = self.last_receipt;
        self.messages.push(Unacknowledged { receipt, id, qos, hash, stored: false, current: true });
        Ok(Novelty::New(Some(Receipt(receipt))))
    }

    pub(crate) fn acknowledge(&mut self, receipt: Receipt, connected: bool, output: &mut Output) {
        let found = self.messages.iter_mut().find(|message| message.receipt == receipt.0);
        let Some(message) = found else { return };
        message.stored = true;
        if connected {
            self.send_acknowledgements(output);
        }
    }

    /// Sends what may be sent: in the order of arrival at each QoS.
    fn send_acknowledgements(&mut self, output: &mut Output) {
        let mut held = [false; 2];
        let mut index = 0;
        while let Some(message) = self.messages.get(index) {
            let level = usize::from(message.qos == QoS::ExactlyOnce);
            let ready = message.current && message.stored && !held[level];
            if !ready {
                held[level] |= message.current;
                index += 1;
                if held == [true; 2] {
                    return;
                }
                continue;
            }
            let id = message.id;
            self.messages.remove(index);
            if level == 0 {
                put_ack(output, 0x40, id);
            } else {
                self.unreleased.push(id);
                put_ack(output, 0x50, id);
            }
        }
    }

    /// Handles a PUBREL.
    pub(crate) fn released(&mut self, id: u16, v5: bool, output: &mut Output) {
        let known = self.unreleased.iter().position(|unreleased| *unreleased == id);
        if let Some(index) = known {
            self.unreleased.swap_remove(index);
        }
        if known.is_none() && v5 {
            let [high, low] = id.to_be_bytes();
            let code = Reason::IDENTIFIER_NOT_FOUND.0;
            output.buffer().extend_from_slice(&[0x70, 3, high, low, code]);
        } else {
            put_ack(output, 0x70, id);
        }
    }
}

/// Appends an acknowledgement without a reason, which means success.
pub(crate) fn put_ack(output: &mut Output, first: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    output.buffer().extend_from_slice(&[first, 2, high, low]);
}
