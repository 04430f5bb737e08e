//! Between the client and its stream.
//!
//! Messages are not the client's: it acknowledges whatever it has read, at once, and keeps 8 identifiers of QoS 2. So
//! PUBLISH and PUBREL are taken out of the stream here, for the driver, and what the driver answers goes out between the
//! client's packets. Everything else passes as it is.
//!
//! A write that fails is told by the next read. Publishing then never fails half-way, and the client's own record of what
//! is under way is exact.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::pending;

use embedded_io_async::{ErrorType, Read, Write};

use super::packet::{Answer, Length, PUBLISH, PUBREL, Packet};

/// What the gate and the driver hand each other.
#[derive(Debug, Default)]
pub(crate) struct Hatch {
    /// The packet that came last. The gate reads on when it has been taken.
    arrived: RefCell<Option<Packet>>,
    /// Answers to the broker, each of [`Answer::SIZE`] bytes; the first may be partly out. The bound is the broker's
    /// identifiers, of which it has 8 in use if it keeps to the client's receive maximum.
    answers: RefCell<VecDeque<u8>>,
    /// Where the next packet goes.
    spare: RefCell<Vec<u8>>,
    /// What is written goes nowhere.
    broken: Cell<bool>,
}

impl Hatch {
    pub(crate) fn take(&self) -> Option<Packet> {
        self.arrived.take()
    }

    /// Puts an answer in line. It goes out when the connection is polled anew.
    pub(crate) fn answer(&self, answer: Answer, id: u16) {
        self.answers.borrow_mut().extend(answer.packet(id));
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.answers.borrow().is_empty()
    }

    pub(crate) fn reuse(&self, spare: Vec<u8>) {
        self.spare.replace(spare);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Between connections: what was under way on the old one does not belong to the new one.
    pub(crate) fn reset(&self) {
        self.arrived.take();
        self.answers.borrow_mut().clear();
        self.broken.set(false);
    }
}

pub(crate) struct Gate<S: ErrorType> {
    stream: S,
    header: Header,
    at: At,
    /// The largest packet, in bytes.
    most: usize,
    failed: Option<S::Error>,
    hatch: Rc<Hatch>,
}

/// A packet's kind and length, byte by byte.
#[derive(Default)]
struct Header {
    bytes: [u8; 5],
    known: usize,
    length: Length,
}

/// Where in a packet the next byte is.
enum At {
    Header,
    /// The client's: so many bytes of the header it has, and so many of the body are to come.
    Passing {
        given: usize,
        left: usize,
    },
    /// The driver's: so many bytes of the body are there.
    Keeping {
        body: Vec<u8>,
        there: usize,
    },
}

impl<S: ErrorType> Gate<S> {
    pub(crate) fn new(stream: S, most: usize, hatch: Rc<Hatch>) -> Self {
        hatch.reset();
        Self { stream, header: Header::default(), at: At::Header, most, failed: None, hatch }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn fail(&mut self, error: Option<S::Error>) {
        self.failed = error;
        self.hatch.broken.set(true);
    }

    fn begin(&mut self, byte: u8) {
        let Header { bytes, known, length } = &mut self.header;
        bytes[*known] = byte;
        *known += 1;
        if *known == 1 {
            return;
        }
        let passing = |left| At::Passing { given: 0, left };
        self.at = match length.add(byte) {
            Some(None) => return,
            // The client says what it thinks of that.
            None => passing(0),
            Some(Some(length)) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                match bytes[0] >> 4 {
                    PUBLISH | PUBREL if length > self.most => return self.fail(None),
                    PUBLISH | PUBREL => {
                        let mut body = self.hatch.spare.take();
                        body.clear();
                        body.resize(length, 0);
                        At::Keeping { body, there: 0 }
                    }
                    _ => passing(length),
                }
            }
        };
        self.end_if_whole();
    }

    fn end_if_whole(&mut self) {
        let whole = match &self.at {
            At::Header => false,
            At::Passing { given, left } => *given == self.header.known && *left == 0,
            At::Keeping { body, there } => *there == body.len(),
        };
        if whole {
            if let At::Keeping { body, .. } = core::mem::replace(&mut self.at, At::Header) {
                self.hatch.arrived.replace(Some(Packet { first: self.header.bytes[0], body }));
            }
            self.header = Header::default();
        }
    }
}

impl<S: ErrorType> ErrorType for Gate<S> {
    type Error = S::Error;
}

impl<S: Read + Write> Read for Gate<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        loop {
            // The client reads between two packets of its own.
            self.write_answers().await;
            if self.hatch.is_broken() {
                return self.failed.take().map_or(Ok(0), Err);
            }
            if self.hatch.arrived.borrow().is_some() {
                // The driver looks for it whenever the client waits, and polls anew.
                pending::<()>().await;
            }
            let count = match &mut self.at {
                At::Header => {
                    let mut byte = [0];
                    let count = self.stream.read(&mut byte).await?;
                    if count > 0 {
                        self.begin(byte[0]);
                        continue;
                    }
                    count
                }
                At::Passing { given, .. } if *given < self.header.known => {
                    let rest = &self.header.bytes[*given..self.header.known];
                    let count = rest.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&rest[..count]);
                    *given += count;
                    count
                }
                At::Passing { left, .. } => {
                    let most = (*left).min(buffer.len());
                    let count = self.stream.read(&mut buffer[..most]).await?;
                    *left -= count;
                    count
                }
                At::Keeping { body, there } => {
                    let count = self.stream.read(&mut body[*there..]).await?;
                    *there += count;
                    if count > 0 {
                        self.end_if_whole();
                        continue;
                    }
                    count
                }
            };
            self.end_if_whole();
            return Ok(count);
        }
    }
}

impl<S: Write> Gate<S> {
    /// Dropped half-way, it goes on where it was.
    async fn write_answers(&mut self) {
        let mut any = false;
        while !self.hatch.has_answered() && !self.hatch.is_broken() {
            let mut some = [0; 16 * Answer::SIZE];
            let mut count = 0;
            for (place, byte) in some.iter_mut().zip(&*self.hatch.answers.borrow()) {
                *place = *byte;
                count += 1;
            }
            match self.stream.write(&some[..count]).await {
                Ok(0) => self.fail(None),
                Ok(count) => drop(self.hatch.answers.borrow_mut().drain(..count)),
                Err(error) => self.fail(Some(error)),
            }
            any = true;
        }
        if any {
            self.flush_stream().await;
        }
    }

    async fn flush_stream(&mut self) {
        if !self.hatch.is_broken()
            && let Err(error) = self.stream.flush().await
        {
            self.fail(Some(error));
        }
    }
}

impl<S: Write> Write for Gate<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, S::Error> {
        // One that is partly out was begun between two packets of the client.
        if !self.hatch.answers.borrow().len().is_multiple_of(Answer::SIZE) {
            self.write_answers().await;
        }
        if self.hatch.is_broken() {
            return Ok(bytes.len());
        }
        match self.stream.write(bytes).await {
            Ok(0) if !bytes.is_empty() => self.fail(None),
            Ok(count) => return Ok(count),
            Err(error) => self.fail(Some(error)),
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

    /// Gives its bytes, and takes at most so many at once; none at all is a broken pipe.
    struct Script {
        gives: &'static [u8],
        takes: usize,
        taken: Vec<u8>,
        /// Every other write waits.
        waits: bool,
    }

    impl Script {
        fn new(gives: &'static [u8], takes: usize) -> Self {
            Self { gives, takes, taken: Vec::new(), waits: false }
        }
    }

    impl ErrorType for Script {
        type Error = ErrorKind;
    }

    impl Read for Script {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
            let count = self.gives.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.gives[..count]);
            self.gives = &self.gives[count..];
            Ok(count)
        }
    }

    impl Write for Script {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
            if self.takes == 0 {
                return Err(ErrorKind::BrokenPipe);
            }
            self.waits = !self.waits;
            if !self.waits {
                pending::<()>().await;
            }
            let count = self.takes.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    fn now<O>(future: impl Future<Output = O>) -> Option<O> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn gate(script: Script) -> (Gate<Script>, Rc<Hatch>) {
        let hatch = Rc::new(Hatch::default());
        (Gate::new(script, 16, Rc::clone(&hatch)), hatch)
    }

    /// What the client reads, and the packets that the driver takes.
    fn read_all(gate: &mut Gate<Script>, hatch: &Hatch, room: usize) -> (Vec<u8>, Vec<Packet>) {
        let (mut all, mut taken) = (Vec::new(), Vec::new());
        let mut buffer = [0; 16];
        loop {
            match now(gate.read(&mut buffer[..room])) {
                Some(Ok(0)) => return (all, taken),
                Some(Ok(count)) => all.extend_from_slice(&buffer[..count]),
                Some(Err(error)) => panic!("{error:?}"),
                None => taken.push(hatch.take().unwrap()),
            }
        }
    }

    /// A ping's answer, a message, an acknowledgement, a release, a subscription's answer, a message without a body.
    const TRAFFIC: &[u8] = &[
        0xd0, 0, 0x32, 5, 0, 1, b'a', 0, 9, 0x40, 2, 0, 7, 0x62, 2, 0, 8, 0x90, 3, 0, 1, 0, 0x30, 0,
    ];

    #[test]
    fn messages_and_their_releases_are_the_drivers_and_everything_else_is_the_clients() {
        for room in 1..8 {
            let (mut gate, hatch) = gate(Script::new(TRAFFIC, 1));
            let (read, taken) = read_all(&mut gate, &hatch, room);
            assert_eq!(read, [0xd0, 0, 0x40, 2, 0, 7, 0x90, 3, 0, 1, 0]);
            let taken: Vec<_> =
                taken.iter().map(|packet| (packet.first, packet.body.as_slice())).collect();
            let message = (0x32, &[0, 1, b'a', 0, 9][..]);
            assert_eq!(taken, [message, (0x62, &[0, 8]), (0x30, &[])]);
        }
    }

    #[test]
    fn nothing_is_read_until_the_driver_has_taken_what_came() {
        let (mut gate, hatch) = gate(Script::new(&TRAFFIC[2..], 1));
        for _ in 0..3 {
            assert!(now(gate.read(&mut [0; 4])).is_none());
        }
        assert_eq!(gate.stream.gives.len(), TRAFFIC.len() - 9);
        assert!(hatch.take().is_some());
        assert_eq!(now(gate.read(&mut [0; 1])), Some(Ok(1)));
    }

    #[test]
    fn an_answer_goes_out_whole_between_the_clients_packets_however_often_its_write_is_dropped() {
        for takes in 1..9 {
            let (mut gate, hatch) = gate(Script::new(&[], takes));
            hatch.answer(Answer::Acknowledged, 1);
            hatch.answer(Answer::Received, 2);
            // Dropped once, in the middle if it takes fewer than all.
            let _unfinished = now(gate.read(&mut [0; 4]));
            while !gate.stream.taken.ends_with(&[0xc0, 0]) {
                let sent = usize::from(gate.stream.taken.ends_with(&[0xc0]));
                let _written = now(gate.write(&[0xc0, 0][sent..]));
            }
            let answers = [0x40, 2, 0, 1, 0x50, 2, 0, 2];
            let before = gate.stream.taken.len() - 2;
            assert_eq!(gate.stream.taken[..before], answers[..before], "{takes}");
            assert!(before.is_multiple_of(Answer::SIZE), "{takes}");
        }
    }

    #[test]
    fn a_message_that_is_larger_than_it_may_be_breaks_the_connection() {
        let (mut gate, hatch) = gate(Script::new(&[0x30, 17, 0, 0], 1));
        assert_eq!(now(gate.read(&mut [0; 4])), Some(Ok(0)));
        assert!(hatch.is_broken() && hatch.take().is_none());
    }

    #[test]
    fn a_write_that_fails_is_told_by_the_next_read() {
        let (mut gate, hatch) = gate(Script::new(TRAFFIC, 0));
        assert_eq!(now(gate.write(b"abc")), Some(Ok(3)));
        assert!(hatch.is_broken());
        assert_eq!((now(gate.write(b"d")), now(gate.flush())), (Some(Ok(1)), Some(Ok(()))));
        assert_eq!(now(gate.read(&mut [0; 4])), Some(Err(ErrorKind::BrokenPipe)));
        assert_eq!(now(gate.read(&mut [0; 4])), Some(Ok(0)));
    }

    #[test]
    fn what_was_under_way_does_not_reach_another_connection() {
        let (_gate, hatch) = gate(Script::new(&[], 1));
        hatch.answer(Answer::Acknowledged, 1);
        let mut gate = Gate::new(Script::new(&[], 9), 16, hatch);
        assert_eq!(now(gate.read(&mut [0; 4])), Some(Ok(0)));
        assert!(gate.stream.taken.is_empty());
    }
}
