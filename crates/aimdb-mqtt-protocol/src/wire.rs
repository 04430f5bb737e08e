//! Integers, texts and lengths, as both versions of MQTT encode them.

use alloc::vec::Vec;

use crate::error::Malformed;

/// The largest remaining length that a fixed header can have.
pub(crate) const MAX_LENGTH: usize = 268_435_455;

/// Reads the fields of one packet. Each method fails if the field exceeds the packet.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'p> {
    bytes: &'p [u8],
}

impl<'p> Reader<'p> {
    pub(crate) const fn new(bytes: &'p [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that are not read.
    pub(crate) const fn rest(&self) -> &'p [u8] {
        self.bytes
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'p [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(Malformed::Field)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A packet identifier, which is not zero.
    pub(crate) fn id(&mut self) -> Result<u16, Malformed> {
        match self.u16()? {
            0 => Err(Malformed::Identifier),
            id => Ok(id),
        }
    }

    /// A variable byte integer.
    pub(crate) fn varint(&mut self) -> Result<usize, Malformed> {
        match varint(self.bytes)? {
            Some((value, length)) => {
                self.bytes = &self.bytes[length..];
                Ok(value)
            }
            None => Err(Malformed::Field),
        }
    }

    /// Bytes after their length in two bytes.
    pub(crate) fn binary(&mut self) -> Result<&'p [u8], Malformed> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A text after its length in two bytes.
    pub(crate) fn text(&mut self) -> Result<&'p str, Malformed> {
        let text = core::str::from_utf8(self.binary()?).map_err(|_| Malformed::Utf8)?;
        if has_nul(text) { Err(Malformed::Nul) } else { Ok(text) }
    }
}

/// Not `contains`, whose search by words is six times as long on a microcontroller.
pub(crate) fn has_nul(text: &str) -> bool {
    text.bytes().any(|byte| byte == 0)
}

/// The variable byte integer at the start of `bytes` and its length; `None` if its end is missing.
pub(crate) fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Malformed::Length) }
}

/// How many bytes `value` has as a variable byte integer.
pub(crate) const fn varint_length(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

/// The length of `bytes` and the bytes. The caller has checked that there are at most 65,535.
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_byte_integer_has_one_to_four_bytes() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, MAX_LENGTH] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_length(value));
            assert_eq!(varint(&bytes), Ok(Some((value, bytes.len()))));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), Ok(None));
        }
        assert!(varint(&[0xff; 4]).is_err());
    }

    #[test]
    fn a_field_never_exceeds_its_packet() {
        assert!(Reader::new(&[0, 3, b'a', b'b']).text().is_err());
        assert!(Reader::new(&[0, 1, 0]).text().is_err(), "a NUL");
        assert!(Reader::new(&[0, 1, 0xff]).text().is_err(), "not UTF-8");
        assert!(Reader::new(&[0, 0]).id().is_err());
        assert_eq!(Reader::new(&[0, 2, b'a', b'b', b'c']).text(), Ok("ab"));
    }
}
