//! `SerialConnector` passes the connector suite, over TCP to a peer of raw frames.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aimdb_core::AimDbBuilder;
use aimdb_serial_connector::SerialConnector;
use aimdb_serial_connector::frame::{
    Body, DEFAULT_MAX_PAYLOAD, DELIMITER, Decoder, Frame, TopicId,
};
use aimdb_serial_connector::sequence::{Action, SequenceTracker};
use aimdb_testing::connector_conformance;
use aimdb_testing::connectors::{
    Delivery, Exchange, FaultCount, LONGEST_BACKOFF, Promises, Protocol, SocketPeer, Subject,
    TOPICS,
};
use aimdb_tokio_adapter::TokioAdapter;

struct OverTcp;

impl Subject for OverTcp {
    type Runtime = TokioAdapter;
    type Peer = SocketPeer<Device>;

    const PROMISES: Promises =
        Promises::new(Delivery::AtMostOnce, DEFAULT_MAX_PAYLOAD).detects_doubles();

    fn run<F: Future<Output = ()> + 'static>(case: fn(Arc<TokioAdapter>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { case(Arc::new(TokioAdapter::new().unwrap())).await });
    }

    fn peer() -> SocketPeer<Device> {
        SocketPeer::listen(Device::new())
    }

    fn connect(builder: &mut AimDbBuilder<TokioAdapter>, peer: &SocketPeer<Device>) -> FaultCount {
        let connector = SerialConnector::tcp(format!("127.0.0.1:{}", peer.port()))
            .backoff(Duration::from_millis(20), LONGEST_BACKOFF);
        let status = connector.status();
        builder.connector(connector);
        // A serial line has no fault that costs the connection: they are counted for the whole connector.
        Box::new(move || {
            let counters = status.counters();
            counters.corrupted + counters.truncated + counters.too_long + counters.unsupported
        })
    }

    fn outbound(topic: &str) -> String {
        format!("serial://{topic}")
    }

    fn inbound(topic: &str) -> String {
        format!("serial://{topic}")
    }
}

connector_conformance!(over_tcp, OverTcp; not applicable:
    every_value_arrives_over_twenty_breaks
    an_unacknowledged_message_is_received_after_a_break
    every_message_reaches_its_record_over_twenty_breaks
    a_message_without_room_at_a_shutdown_is_not_acknowledged
    a_full_record_loses_no_message
    nothing_is_acknowledged_before_the_record_has_it
    a_repeated_message_arrives_at_most_twice
);

/// The other end of the line.
struct Device {
    decoder: Decoder,
    received: SequenceTracker,
    /// The number of the latest data frame.
    sent: u32,
    encoded: Vec<u8>,
}

impl Device {
    const SESSION: u16 = 9;

    fn new() -> Self {
        Self {
            decoder: Decoder::new(DEFAULT_MAX_PAYLOAD),
            received: SequenceTracker::new(),
            sent: 0,
            encoded: Vec::new(),
        }
    }

    fn write(&mut self, body: Body<'_>, exchange: &mut Exchange) {
        Frame::new(Self::SESSION, self.sent, body).encode(&mut self.encoded);
        exchange.write(&self.encoded);
    }
}

impl Protocol for Device {
    fn connected(&mut self, exchange: &mut Exchange) {
        self.decoder.reset();
        exchange.write(&[DELIMITER]);
        let begin = if self.sent == 0 { Body::Start } else { Body::Heartbeat };
        self.write(begin, exchange);
    }

    fn read(&mut self, mut bytes: &[u8], exchange: &mut Exchange) {
        while let Some(decoded) = self.decoder.feed(&mut bytes) {
            // A frame of which a break has left the end.
            let Ok(frame) = decoded else { continue };
            let Body::Data { topic, payload } = frame.body else { continue };
            if self.received.classify(&frame).action == Action::Deliver {
                let known = TOPICS.into_iter().find(|known| TopicId::of(known) == topic);
                exchange.receive(known.expect("a topic of the suite"), payload);
            }
        }
    }

    fn send(&mut self, topic: &str, payload: &[u8], copies: usize, exchange: &mut Exchange) {
        self.sent += 1;
        for _ in 0..copies {
            self.write(Body::Data { topic: TopicId::of(topic), payload }, exchange);
        }
    }

    fn rubbish(&self) -> Vec<Vec<u8>> {
        let mut damaged = Vec::new();
        Frame::new(Self::SESSION, self.sent, Body::Heartbeat).encode(&mut damaged);
        let mut truncated = damaged.clone();
        truncated.drain(..4);
        damaged[2] ^= 0x40;
        vec![
            vec![0xa5, 0xff, 0x11, 0x07, 0x00, 0xff, 0xfe, 0x3c, 0x00, 0x02, 0x11, DELIMITER],
            damaged,
            truncated,
            // Longer than any frame.
            [vec![0x01; 4 * DEFAULT_MAX_PAYLOAD], vec![DELIMITER]].concat(),
        ]
    }
}
