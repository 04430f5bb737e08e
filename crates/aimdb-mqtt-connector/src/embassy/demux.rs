//! The demultiplexer between the client and its stream.
//!
//! The client acknowledges every message as soon as it has read it, and keeps 8 packet identifiers of QoS 2. Therefore
//! [`PacketDemux`] diverts PUBLISH and PUBREL from the incoming stream to the driver, and writes the driver's
//! acknowledgements between the client's outgoing packets. It forwards all other packets unchanged.
//!
//! A write that fails is reported by the next read. Publishing then never fails half-way, and the client's list of
//! packets in flight is exact.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::pending;

use embedded_io_async::{ErrorType, Read, Write};

use super::packet::{AckPacket, PUBLISH, PUBREL, RawPacket, VarInt};

/// The state that the demultiplexer and the driver share.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// The packet received last. The demultiplexer reads on after the driver has taken it.
    received: RefCell<Option<RawPacket>>,
    /// Acknowledgements to write, each of [`AckPacket::SIZE`] bytes; the first may be partly written. The number of the
    /// broker's packet identifiers bounds this queue: 8 are in use if the broker respects the client's receive maximum.
    acks: RefCell<VecDeque<u8>>,
    /// Memory for the next packet.
    spare: RefCell<Vec<u8>>,
    /// The connection is broken. Further writes are discarded.
    broken: Cell<bool>,
}

impl Exchange {
    pub(crate) fn take_received(&self) -> Option<RawPacket> {
        self.received.take()
    }

    /// Queues an acknowledgement. The demultiplexer writes it when the connection is polled again.
    pub(crate) fn queue_ack(&self, ack: AckPacket, id: u16) {
        self.acks.borrow_mut().extend(ack.encode(id));
    }

    /// Whether every queued acknowledgement is written.
    pub(crate) fn acks_are_written(&self) -> bool {
        self.acks.borrow().is_empty()
    }

    /// Returns the memory of a packet, for the next one.
    pub(crate) fn recycle(&self, spare: Vec<u8>) {
        self.spare.replace(spare);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Discards the state of the previous connection, which has no meaning on the next one.
    pub(crate) fn reset(&self) {
        self.received.take();
        self.acks.borrow_mut().clear();
        self.broken.set(false);
    }
}

pub(crate) struct PacketDemux<S: ErrorType> {
    stream: S,
    header: FixedHeader,
    state: DemuxState,
    /// The largest packet, in bytes.
    max_packet: usize,
    write_error: Option<S::Error>,
    exchange: Rc<Exchange>,
}

/// The fixed header of the current packet, as far as it is read.
#[derive(Default)]
struct FixedHeader {
    bytes: [u8; 5],
    /// How many of the bytes are read.
    filled: usize,
    remaining_length: VarInt,
}

/// The position of the next incoming byte.
enum DemuxState {
    Header,
    /// In a packet for the client. The client has read `header_read` bytes of its header, and `body_left` bytes of the
    /// body are not read.
    Forwarding {
        header_read: usize,
        body_left: usize,
    },
    /// In a packet for the driver, of whose body `filled` bytes are read.
    Diverting {
        body: Vec<u8>,
        filled: usize,
    },
}

impl<S: ErrorType> PacketDemux<S> {
    pub(crate) fn new(stream: S, max_packet: usize, exchange: Rc<Exchange>) -> Self {
        exchange.reset();
        Self {
            stream,
            header: FixedHeader::default(),
            state: DemuxState::Header,
            max_packet,
            write_error: None,
            exchange,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn mark_broken(&mut self, error: Option<S::Error>) {
        self.write_error = error;
        self.exchange.broken.set(true);
    }

    /// Adds a byte to the fixed header. After its last byte the state is that of the packet's body.
    fn push_header_byte(&mut self, byte: u8) {
        let FixedHeader { bytes, filled, remaining_length } = &mut self.header;
        bytes[*filled] = byte;
        *filled += 1;
        if *filled == 1 {
            return;
        }
        let forward = |body_left| DemuxState::Forwarding { header_read: 0, body_left };
        self.state = match remaining_length.push(byte) {
            Some(None) => return,
            // The length is malformed. The client reports it.
            None => forward(0),
            Some(Some(length)) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                match bytes[0] >> 4 {
                    PUBLISH | PUBREL if length > self.max_packet => return self.mark_broken(None),
                    PUBLISH | PUBREL => {
                        let mut body = self.exchange.spare.take();
                        body.clear();
                        body.resize(length, 0);
                        DemuxState::Diverting { body, filled: 0 }
                    }
                    _ => forward(length),
                }
            }
        };
        self.finish_complete_packet();
    }

    /// Hands a complete packet of the driver to it, and returns to the header after a complete packet.
    fn finish_complete_packet(&mut self) {
        let complete = match &self.state {
            DemuxState::Header => false,
            DemuxState::Forwarding { header_read, body_left } => {
                *header_read == self.header.filled && *body_left == 0
            }
            DemuxState::Diverting { body, filled } => *filled == body.len(),
        };
        if complete {
            if let DemuxState::Diverting { body, .. } =
                core::mem::replace(&mut self.state, DemuxState::Header)
            {
                let packet = RawPacket { first: self.header.bytes[0], body };
                self.exchange.received.replace(Some(packet));
            }
            self.header = FixedHeader::default();
        }
    }
}

impl<S: ErrorType> ErrorType for PacketDemux<S> {
    type Error = S::Error;
}

impl<S: Read + Write> Read for PacketDemux<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        loop {
            // The client reads only between two of its own packets, so no packet is interrupted.
            self.write_acks().await;
            if self.exchange.is_broken() {
                return self.write_error.take().map_or(Ok(0), Err);
            }
            if self.exchange.received.borrow().is_some() {
                // The driver takes the packet while the client waits, and then polls the client again.
                pending::<()>().await;
            }
            let count = match &mut self.state {
                DemuxState::Header => {
                    let mut byte = [0];
                    let count = self.stream.read(&mut byte).await?;
                    if count > 0 {
                        self.push_header_byte(byte[0]);
                        continue;
                    }
                    count
                }
                DemuxState::Forwarding { header_read, .. } if *header_read < self.header.filled => {
                    let rest = &self.header.bytes[*header_read..self.header.filled];
                    let count = rest.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&rest[..count]);
                    *header_read += count;
                    count
                }
                DemuxState::Forwarding { body_left, .. } => {
                    let max = (*body_left).min(buffer.len());
                    let count = self.stream.read(&mut buffer[..max]).await?;
                    *body_left -= count;
                    count
                }
                DemuxState::Diverting { body, filled } => {
                    let count = self.stream.read(&mut body[*filled..]).await?;
                    *filled += count;
                    if count > 0 {
                        self.finish_complete_packet();
                        continue;
                    }
                    count
                }
            };
            self.finish_complete_packet();
            return Ok(count);
        }
    }
}

impl<S: Write> PacketDemux<S> {
    /// Writes the queued acknowledgements.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: after a dropped future the next call continues with the first byte that is not written.
    async fn write_acks(&mut self) {
        let mut any = false;
        while !self.exchange.acks_are_written() && !self.exchange.is_broken() {
            let mut chunk = [0; 16 * AckPacket::SIZE];
            let mut count = 0;
            for (slot, byte) in chunk.iter_mut().zip(&*self.exchange.acks.borrow()) {
                *slot = *byte;
                count += 1;
            }
            match self.stream.write(&chunk[..count]).await {
                Ok(0) => self.mark_broken(None),
                Ok(count) => drop(self.exchange.acks.borrow_mut().drain(..count)),
                Err(error) => self.mark_broken(Some(error)),
            }
            any = true;
        }
        if any {
            self.flush_stream().await;
        }
    }

    async fn flush_stream(&mut self) {
        if !self.exchange.is_broken()
            && let Err(error) = self.stream.flush().await
        {
            self.mark_broken(Some(error));
        }
    }
}

impl<S: Write> Write for PacketDemux<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, S::Error> {
        // A partly written acknowledgement was begun between two packets of the client. The rest precedes the next
        // packet.
        if !self.exchange.acks.borrow().len().is_multiple_of(AckPacket::SIZE) {
            self.write_acks().await;
        }
        if self.exchange.is_broken() {
            return Ok(bytes.len());
        }
        match self.stream.write(bytes).await {
            Ok(0) if !bytes.is_empty() => self.mark_broken(None),
            Ok(count) => return Ok(count),
            Err(error) => self.mark_broken(Some(error)),
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        self.flush_stream().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::future::Future;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};

    use embedded_io_async::ErrorKind;

    use super::*;

    /// A stream with scripted input.
    struct Script {
        input: &'static [u8],
        /// The most bytes that one write accepts. With zero, writing fails with a broken pipe.
        write_limit: usize,
        written: Vec<u8>,
        /// Toggled by each write; every other write is pending.
        ready: bool,
    }

    impl Script {
        fn new(input: &'static [u8], write_limit: usize) -> Self {
            Self { input, write_limit, written: Vec::new(), ready: false }
        }
    }

    impl ErrorType for Script {
        type Error = ErrorKind;
    }

    impl Read for Script {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
            let count = self.input.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.input[..count]);
            self.input = &self.input[count..];
            Ok(count)
        }
    }

    impl Write for Script {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
            if self.write_limit == 0 {
                return Err(ErrorKind::BrokenPipe);
            }
            self.ready = !self.ready;
            if !self.ready {
                pending::<()>().await;
            }
            let count = self.write_limit.min(bytes.len());
            self.written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    fn poll_once<O>(future: impl Future<Output = O>) -> Option<O> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn demux(script: Script) -> (PacketDemux<Script>, Rc<Exchange>) {
        let exchange = Rc::new(Exchange::default());
        (PacketDemux::new(script, 16, Rc::clone(&exchange)), exchange)
    }

    /// The bytes that the client reads, up to `room` at once, and the packets that the driver takes.
    fn read_all(
        demux: &mut PacketDemux<Script>,
        exchange: &Exchange,
        room: usize,
    ) -> (Vec<u8>, Vec<RawPacket>) {
        let (mut all, mut taken) = (Vec::new(), Vec::new());
        let mut buffer = [0; 16];
        loop {
            match poll_once(demux.read(&mut buffer[..room])) {
                Some(Ok(0)) => return (all, taken),
                Some(Ok(count)) => all.extend_from_slice(&buffer[..count]),
                Some(Err(error)) => panic!("{error:?}"),
                None => taken.push(exchange.take_received().unwrap()),
            }
        }
    }

    /// PINGRESP, PUBLISH, PUBACK, PUBREL, SUBACK, PUBLISH without a body.
    const TRAFFIC: &[u8] = &[
        0xd0, 0, 0x32, 5, 0, 1, b'a', 0, 9, 0x40, 2, 0, 7, 0x62, 2, 0, 8, 0x90, 3, 0, 1, 0, 0x30, 0,
    ];

    #[test]
    fn the_driver_receives_messages_and_releases_and_the_client_all_other_packets() {
        for room in 1..8 {
            let (mut demux, exchange) = demux(Script::new(TRAFFIC, 1));
            let (read, taken) = read_all(&mut demux, &exchange, room);
            assert_eq!(read, [0xd0, 0, 0x40, 2, 0, 7, 0x90, 3, 0, 1, 0]);
            let taken: Vec<_> =
                taken.iter().map(|packet| (packet.first, packet.body.as_slice())).collect();
            let message = (0x32, &[0, 1, b'a', 0, 9][..]);
            assert_eq!(taken, [message, (0x62, &[0, 8]), (0x30, &[])]);
        }
    }

    #[test]
    fn the_demux_reads_nothing_until_the_driver_has_taken_the_received_packet() {
        let (mut demux, exchange) = demux(Script::new(&TRAFFIC[2..], 1));
        for _ in 0..3 {
            assert!(poll_once(demux.read(&mut [0; 4])).is_none());
        }
        assert_eq!(demux.stream.input.len(), TRAFFIC.len() - 9);
        assert!(exchange.take_received().is_some());
        assert_eq!(poll_once(demux.read(&mut [0; 1])), Some(Ok(1)));
    }

    #[test]
    fn an_acknowledgement_is_written_whole_between_the_clients_packets_even_if_its_write_is_dropped()
     {
        for limit in 1..9 {
            let (mut demux, exchange) = demux(Script::new(&[], limit));
            exchange.queue_ack(AckPacket::Acknowledged, 1);
            exchange.queue_ack(AckPacket::Received, 2);
            // This write is dropped once, and half-way if the limit is less than all bytes.
            let _unfinished = poll_once(demux.read(&mut [0; 4]));
            while !demux.stream.written.ends_with(&[0xc0, 0]) {
                let sent = usize::from(demux.stream.written.ends_with(&[0xc0]));
                let _written = poll_once(demux.write(&[0xc0, 0][sent..]));
            }
            let acks = [0x40, 2, 0, 1, 0x50, 2, 0, 2];
            let before = demux.stream.written.len() - 2;
            assert_eq!(demux.stream.written[..before], acks[..before], "{limit}");
            assert!(before.is_multiple_of(AckPacket::SIZE), "{limit}");
        }
    }

    #[test]
    fn a_message_over_the_packet_limit_breaks_the_connection() {
        let (mut demux, exchange) = demux(Script::new(&[0x30, 17, 0, 0], 1));
        assert_eq!(poll_once(demux.read(&mut [0; 4])), Some(Ok(0)));
        assert!(exchange.is_broken() && exchange.take_received().is_none());
    }

    #[test]
    fn a_failed_write_is_reported_by_the_next_read() {
        let (mut demux, exchange) = demux(Script::new(TRAFFIC, 0));
        assert_eq!(poll_once(demux.write(b"abc")), Some(Ok(3)));
        assert!(exchange.is_broken());
        assert_eq!(
            (poll_once(demux.write(b"d")), poll_once(demux.flush())),
            (Some(Ok(1)), Some(Ok(())))
        );
        assert_eq!(poll_once(demux.read(&mut [0; 4])), Some(Err(ErrorKind::BrokenPipe)));
        assert_eq!(poll_once(demux.read(&mut [0; 4])), Some(Ok(0)));
    }

    #[test]
    fn a_queued_acknowledgement_does_not_reach_another_connection() {
        let (_demux, exchange) = demux(Script::new(&[], 1));
        exchange.queue_ack(AckPacket::Acknowledged, 1);
        let mut demux = PacketDemux::new(Script::new(&[], 9), 16, exchange);
        assert_eq!(poll_once(demux.read(&mut [0; 4])), Some(Ok(0)));
        assert!(demux.stream.written.is_empty());
    }
}
