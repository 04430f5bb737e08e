//! A microcontroller's end on Embassy's std executor and a gateway's end on Tokio, over a byte stream.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Postcard};
use aimdb_embassy_adapter::{EmbassyAdapter, sink};
use aimdb_serial_connector::frame::DELIMITER;
use aimdb_serial_connector::{
    EmbeddedSerialConnector, MAX_READ_ERRORS, Port, SerialConnector, SerialCounters, SerialStatus,
    Uart,
};
use aimdb_tokio_adapter::TokioAdapter;
use embassy_executor::{Executor, Spawner};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{ErrorKind, ErrorType, Read};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 16 };

aimdb_testing::auto_traits! {
    SerialStatus: has Send, has Sync, has Unpin;
    SerialCounters: has Send, has Sync, has Unpin;
    SerialConnector: has Send, lacks Sync, has Unpin;
    EmbeddedSerialConnector<u8>: has Send, has Sync, has Unpin;
    EmbeddedSerialConnector<Rc<u8>>: lacks Send, lacks Sync, has Unpin;
}

type Rx = FromTokio<ReadHalf<DuplexStream>>;
type Tx = FromTokio<WriteHalf<DuplexStream>>;

/// A port that is not `Send`, like many peripherals.
struct LocalPort {
    uart: Uart<Rx, Tx>,
    _not_send: Rc<()>,
}

impl Port for LocalPort {
    type Read = <Uart<Rx, Tx> as Port>::Read;
    type Write = Tx;
    type Error = core::convert::Infallible;

    async fn open(&mut self) -> Result<(&mut Self::Read, &mut Tx), Self::Error> {
        self.uart.open().await
    }
}

/// A database that answers each command with twice its number.
#[embassy_executor::task]
async fn firmware(spawner: Spawner, line: DuplexStream) {
    let (rx, tx) = tokio::io::split(line);
    let uart = Uart::new(FromTokio::new(rx), FromTokio::new(tx));
    let port = LocalPort { uart, _not_send: Rc::new(()) };
    let mut builder =
        AimDbBuilder::new().runtime(Arc::new(EmbassyAdapter::new(spawner, sink::none)));
    builder.connector(EmbeddedSerialConnector::new(port).session(1));
    builder.configure::<u32>("command", |reg| {
        reg.buffer(QUEUE).link_from("serial://commands", Postcard);
    });
    builder.configure::<u32>("answer", |reg| {
        reg.buffer(QUEUE)
            .transform(aimdb_core::input::<u32>("command"), |number| number * 2)
            .link_to("serial://answers", Postcard);
    });
    builder.run().await.unwrap();
}

#[tokio::test]
async fn a_microcontroller_answers_a_gateway() {
    let (near, far) = tokio::io::duplex(64);
    thread::spawn(move || {
        let executor: &'static mut Executor = Box::leak(Box::new(Executor::new()));
        executor.run(|spawner| spawner.spawn(firmware(spawner, far).unwrap()));
    });

    let mut near = Some(near);
    let connector = SerialConnector::stream("a microcontroller", move || {
        std::future::ready(near.take().ok_or_else(|| std::io::Error::other("the stream was taken")))
    });
    let status = connector.status();
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()));
    builder.connector(connector);
    builder.configure::<u32>("command", |reg| {
        reg.buffer(QUEUE).link_to("serial://commands", Postcard);
    });
    builder.configure::<u32>("answer", |reg| {
        reg.buffer(QUEUE).link_from("serial://answers", Postcard);
    });
    let db = builder.build().unwrap();
    let mut answers = db.consumer::<u32>("answer").unwrap().subscribe().unwrap();
    let commands = db.producer::<u32>("command").unwrap();
    db.start();
    for number in 0..500 {
        commands.produce(number).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(30), answers.recv()).await;
        assert_eq!(answer.expect("an answer arrives"), Ok(number * 2));
    }
    assert_eq!(status.counters().to_string(), "500 sent, 500 received");
}

/// A UART receiver that returns the given bytes and errors.
struct FaultyReceiver<'n>(&'n [Result<u8, Overrun>]);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Overrun;

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("overrun")
    }
}

impl core::error::Error for Overrun {}

impl embedded_io_async::Error for Overrun {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for FaultyReceiver<'_> {
    type Error = Overrun;
}

impl Read for FaultyReceiver<'_> {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Overrun> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
        self.0 = rest;
        bytes[0] = (*first)?;
        Ok(1)
    }
}

#[tokio::test]
async fn a_read_error_of_a_uart_ends_the_frame_and_not_the_connection() {
    let reads = [Ok(5), Err(Overrun), Ok(6)];
    let mut uart = Uart::new(FaultyReceiver(&reads), FromTokio::new(tokio::io::sink()));
    let (read, _) = uart.open().await.unwrap();
    let mut bytes = [9; 4];
    for expected in [5, DELIMITER, 6] {
        assert_eq!(read.read(&mut bytes).await, Ok(1));
        assert_eq!(bytes[0], expected);
    }
    assert_eq!(read.read(&mut bytes).await, Ok(0));
}

#[tokio::test]
async fn a_uart_reports_an_error_after_too_many_failed_reads_and_can_be_reopened() {
    let reads = [Err(Overrun); 100];
    let mut uart = Uart::new(FaultyReceiver(&reads), FromTokio::new(tokio::io::sink()));
    for _ in 0..2 {
        let (read, _) = uart.open().await.unwrap();
        let mut bytes = [9; 4];
        for _ in 0..MAX_READ_ERRORS {
            assert_eq!(read.read(&mut bytes).await, Ok(1));
        }
        assert_eq!(read.read(&mut bytes).await, Err(Overrun));
    }
}
