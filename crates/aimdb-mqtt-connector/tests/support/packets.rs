//! The packets of a client, parsed.

/// A CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The number of the connection, from 1 on.
    pub connection: usize,
    pub client_id: String,
    pub clean: bool,
    /// The client asks the broker to keep the session after the connection.
    pub wants_session: bool,
    pub keep_alive: u16,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<Will>,
    pub properties: Properties,
}

/// The last will in a CONNECT.
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

/// A PUBLISH.
#[derive(Clone, Debug)]
pub struct Publish {
    pub connection: usize,
    /// The topic, also where the packet has an alias.
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    /// The packet identifier, 0 at QoS 0.
    pub id: u16,
    pub properties: Properties,
    /// The broker has accepted it.
    pub accepted: bool,
}

/// A SUBSCRIBE.
#[derive(Clone, Debug)]
pub struct Subscribe {
    pub connection: usize,
    pub id: u16,
    pub properties: Properties,
    pub subscriptions: Vec<Subscription>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub filter: String,
    pub qos: u8,
    /// The byte of options: QoS, no local, retain as published, retain handling.
    pub options: u8,
    pub identifier: Option<u32>,
}

/// The properties of a packet of MQTT 5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(u8, Value)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u32),
    Bytes(Vec<u8>),
    Pair(String, String),
}

impl Connect {
    pub fn parse(mut fields: Fields<'_>, connection: usize) -> Result<Self, String> {
        let (protocol, level) = (fields.text()?, fields.u8()?);
        let expected = if fields.v5 { 5 } else { 4 };
        if (&*protocol, level) != ("MQTT", expected) {
            return Err(format!("the protocol is {protocol} {level}"));
        }
        let flags = fields.u8()?;
        let keep_alive = fields.u16()?;
        let properties = fields.properties()?;
        let client_id = fields.text()?;
        let will = if flags & 4 == 0 { None } else { Some(Will::parse(&mut fields, flags)?) };
        let user = if flags & 0x80 == 0 { None } else { Some(fields.text()?) };
        let password = if flags & 0x40 == 0 { None } else { Some(fields.bytes()?.to_vec()) };
        fields.expect_end()?;
        let clean = flags & 2 != 0;
        let expires = properties.number(0x11).unwrap_or(0);
        let wants_session = if fields.v5 { expires > 0 } else { !clean };
        Ok(Self {
            connection,
            client_id,
            clean,
            wants_session,
            keep_alive,
            user,
            password,
            will,
            properties,
        })
    }
}

impl Will {
    fn parse(fields: &mut Fields<'_>, flags: u8) -> Result<Self, String> {
        let properties = fields.properties()?;
        let topic = fields.text()?;
        let payload = fields.bytes()?.to_vec();
        Ok(Self { topic, payload, qos: flags >> 3 & 3, retain: flags & 0x20 != 0, properties })
    }

    /// The will delay of MQTT 5, in seconds.
    pub fn delay(&self) -> Option<u32> {
        self.properties.number(0x18)
    }
}

impl Publish {
    pub fn parse(mut fields: Fields<'_>, header: u8, connection: usize) -> Result<Self, String> {
        let qos = header >> 1 & 3;
        if qos == 3 {
            return Err("QoS 3".into());
        }
        let topic = fields.text()?;
        let id = if qos > 0 { fields.u16()? } else { 0 };
        if qos > 0 && id == 0 {
            return Err("the packet identifier 0".into());
        }
        let properties = fields.properties()?;
        Ok(Self {
            connection,
            topic,
            payload: fields.rest.to_vec(),
            qos,
            retain: header & 1 != 0,
            dup: header & 8 != 0,
            id,
            properties,
            accepted: false,
        })
    }
}

impl Subscribe {
    pub fn parse(mut fields: Fields<'_>, connection: usize) -> Result<Self, String> {
        let id = fields.u16()?;
        let properties = fields.properties()?;
        let identifier = properties.number(0x0b);
        if identifier == Some(0) {
            return Err("the subscription identifier 0".into());
        }
        let mut subscriptions = Vec::new();
        while !fields.is_empty() {
            let filter = fields.text()?;
            let options = fields.u8()?;
            subscriptions.push(Subscription { filter, qos: options & 3, options, identifier });
        }
        if subscriptions.is_empty() {
            return Err("no filter".into());
        }
        Ok(Self { connection, id, properties, subscriptions })
    }
}

impl Subscription {
    pub fn no_local(&self) -> bool {
        self.options & 4 != 0
    }

    pub fn retain_as_published(&self) -> bool {
        self.options & 8 != 0
    }

    pub fn retain_handling(&self) -> u8 {
        self.options >> 4 & 3
    }
}

impl Properties {
    /// The number of this property; the first one if it occurs several times.
    pub fn number(&self, id: u8) -> Option<u32> {
        self.0.iter().find_map(|(of, value)| match value {
            Value::Number(number) if *of == id => Some(*number),
            _ => None,
        })
    }

    pub fn text(&self, id: u8) -> Option<String> {
        self.0.iter().find_map(|(of, value)| match value {
            Value::Bytes(bytes) if *of == id => Some(String::from_utf8(bytes.clone()).unwrap()),
            _ => None,
        })
    }

    /// The identifiers, in their order.
    pub fn ids(&self) -> Vec<u8> {
        self.0.iter().map(|(id, _)| *id).collect()
    }

    /// The user properties, in their order.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let pair = |value: &Value| match value {
            Value::Pair(name, text) => Some((name.clone(), text.clone())),
            _ => None,
        };
        self.0.iter().filter_map(|(_, value)| pair(value)).collect()
    }

    fn parse(fields: &mut Fields<'_>) -> Result<Self, String> {
        let mut all = Vec::new();
        while !fields.is_empty() {
            let id = fields.u8()?;
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => {
                    Value::Number(fields.u8()?.into())
                }
                0x13 | 0x21..=0x23 => Value::Number(fields.u16()?.into()),
                0x02 | 0x11 | 0x18 | 0x27 => Value::Number(fields.u32()?),
                0x0b => Value::Number(fields.number()?),
                0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => {
                    Value::Bytes(fields.text()?.into_bytes())
                }
                0x09 | 0x16 => Value::Bytes(fields.bytes()?.to_vec()),
                0x26 => Value::Pair(fields.text()?, fields.text()?),
                _ => return Err(format!("the property {id:#x}")),
            };
            all.push((id, value));
        }
        Ok(Self(all))
    }
}

/// The part of a packet that is not parsed yet.
#[derive(Clone, Copy)]
pub struct Fields<'p> {
    rest: &'p [u8],
    v5: bool,
}

impl<'p> Fields<'p> {
    pub fn new(body: &'p [u8], v5: bool) -> Self {
        Self { rest: body, v5 }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn expect_end(&self) -> Result<(), String> {
        if self.is_empty() { Ok(()) } else { Err(format!("{} bytes follow", self.rest.len())) }
    }

    fn take(&mut self, count: usize) -> Result<&'p [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it is too short")?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    /// A number of one to four bytes.
    fn number(&mut self) -> Result<u32, String> {
        let mut number = 0;
        for at in 0..4 {
            let byte = self.u8()?;
            number |= u32::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number of more than four bytes".into())
    }

    fn bytes(&mut self) -> Result<&'p [u8], String> {
        let length = self.u16()?;
        self.take(length.into())
    }

    pub fn text(&mut self) -> Result<String, String> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|error| error.to_string())?;
        if text.contains('\0') { Err("a NUL".into()) } else { Ok(text.into()) }
    }

    /// The properties; none in MQTT 3.1.1.
    pub fn properties(&mut self) -> Result<Properties, String> {
        if !self.v5 {
            return Ok(Properties::default());
        }
        let length = self.number()?;
        let mut own = Self { rest: self.take(length as usize)?, v5: true };
        Properties::parse(&mut own)
    }
}

/// Writes a text or binary data after its length.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend_from_slice(text);
}

/// Writes a number of one to four bytes.
pub fn put_number(out: &mut Vec<u8>, mut number: u32) {
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

/// The bytes of a packet.
pub fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![header];
    put_number(&mut bytes, u32::try_from(body.len()).unwrap());
    bytes.extend_from_slice(body);
    bytes
}

/// Appends encoded properties, with their length before them.
pub fn put_properties(body: &mut Vec<u8>, properties: &[u8]) {
    put_number(body, u32::try_from(properties.len()).unwrap());
    body.extend_from_slice(properties);
}
