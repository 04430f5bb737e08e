//! A program of the guide: docs/guide/src.
use aimdb::{CodecError, Decode, Incoming, Json, MessageProperties, decode_with};

/// A temperature in degrees Celsius, in the unit that the message names.
fn celsius() -> impl Decode<f32> {
    decode_with(|message: &Incoming<'_>| {
        if message.retained {
            return Err(CodecError::new("a retained value, whose age is unknown"));
        }
        match message.properties.content_type {
            None | Some("application/json") => {}
            Some(other) => return Err(CodecError::new(format_args!("{other} instead of JSON"))),
        }
        let value: f32 = Json.decode(message)?;
        match message.properties.user("unit") {
            Some("fahrenheit") => Ok((value - 32.0) / 1.8),
            _ => Ok(value),
        }
    })
}

fn main() {
    let message = Incoming::new("room/temp", b"68");
    println!("{:?}", celsius().decode(&message));
    println!("{:?}", celsius().decode(&message.with_retained(true)));
    let mut properties = MessageProperties::default();
    properties.content_type = Some("text/plain");
    println!("{:?}", celsius().decode(&message.with_properties(properties)));
    let unit = [("unit".to_string(), "fahrenheit".to_string())];
    properties.content_type = None;
    properties.user = &unit;
    println!("{:?}", celsius().decode(&message.with_properties(properties)));
}
