//! The MQTT session over the wire, without the connector.

use aimdb_mqtt_protocol::{Event, Message, QoS, Session, SessionConfig, SubscribeOptions};
use embassy_time::{Instant, Timer};

use crate::show::show;
use crate::wire;

#[embassy_executor::task]
pub(crate) async fn run() {
    let mut config = SessionConfig::new("node");
    config.max_incoming = 1024;
    config.output_room = 1024;
    config.window = 8;
    config.receive_maximum = 8;
    let mut session = Session::new(config);
    loop {
        session.connect(Instant::now().as_millis());
        while serve(&mut session).is_ok() {
            Timer::after_millis(1).await;
        }
        session.connection_lost();
        Timer::after_secs(1).await;
    }
}

fn serve(session: &mut Session) -> Result<(), aimdb_mqtt_protocol::Error> {
    let now = Instant::now().as_millis();
    let read = wire::read(session.input());
    session.received(read, now);
    loop {
        let receipt = match session.next_event()? {
            None => break,
            Some(Event::Connected { .. }) => {
                session.subscribe("set", SubscribeOptions::new(QoS::AtLeastOnce), None).ok();
                None
            }
            Some(Event::Message(message)) => {
                show(message.payload.len() as u32);
                message.receipt
            }
            Some(_) => None,
        };
        if let Some(receipt) = receipt {
            session.acknowledge(receipt);
        }
    }
    if session.has_room(QoS::AtLeastOnce) {
        let message = Message::new("count", &[1, 2, 3, 4]).qos(QoS::AtLeastOnce);
        session.publish(&message).ok();
    }
    session.handle_time(now)?;
    let written = wire::write(session.output());
    session.written(written, now);
    Ok(())
}
