//! Addresses of links: `scheme://topic?option=value&…`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// The direction of a link, seen from its record.
///
/// ```
/// use aimdb_core::{AimDb, Direction, Runtime};
///
/// fn print_links<R: Runtime>(db: &AimDb<R>) {
///     for link in &db.metrics().links {
///         match link.direction {
///             Direction::Inbound => println!("{} ← {}: {}", link.key, link.address, link.received),
///             Direction::Outbound => println!("{} → {}: {}", link.key, link.address, link.sent),
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Direction {
    /// From the connector into the record.
    Inbound,
    /// From the record to the connector.
    Outbound,
}

impl Direction {
    /// Whether the link carries values from the record to the connector.
    #[must_use]
    pub const fn is_outbound(self) -> bool {
        matches!(self, Self::Outbound)
    }
}

/// The address of a link: a connector's name, a topic, and options.
///
/// The connector defines the meaning of the topic and the options, and checks both when the graph is built. A text and
/// a typed target result in the same address, so one check serves both.
///
/// ```
/// use aimdb_core::Address;
///
/// let address = Address::new("mqtt", "home/+/temp").option("qos", 1);
/// assert_eq!(address.to_string(), "mqtt://home/+/temp?qos=1");
/// assert_eq!(Address::parse("mqtt://home/+/temp?qos=1"), Ok(address));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The name of the connector that serves the link.
    pub scheme: String,
    /// The topic, or the protocol's equivalent of it.
    pub topic: String,
    /// The options, in the order of the text. A flag has an empty value.
    pub options: Vec<(String, String)>,
}

impl Address {
    /// Returns an address without options.
    #[must_use]
    pub fn new(scheme: impl Into<String>, topic: impl Into<String>) -> Self {
        Self { scheme: scheme.into(), topic: topic.into(), options: Vec::new() }
    }

    /// Appends an option and returns the address.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.options.push((name.into(), value.to_string()));
        self
    }

    /// Parses `scheme://topic?option=value&…`.
    ///
    /// The first `?` ends the topic.
    ///
    /// # Errors
    ///
    /// A description of the fault: the scheme is missing, empty or has an invalid character, or an option has no name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it has no `scheme://`")?;
        if scheme.is_empty() {
            return Err("the scheme before `://` is empty".into());
        }
        if let Some(invalid) =
            scheme.chars().find(|c| !c.is_ascii_alphanumeric() && !"+-._".contains(*c))
        {
            return Err(alloc::format!("the scheme `{scheme}` contains `{invalid}`"));
        }
        let (topic, query) = rest.split_once('?').unwrap_or((rest, ""));
        let options = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(parse_option)
            .collect::<Result<_, _>>()?;
        Ok(Self { scheme: scheme.into(), topic: topic.into(), options })
    }
}

fn parse_option(part: &str) -> Result<(String, String), String> {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    if name.is_empty() {
        return Err(alloc::format!("the option `{part}` has no name"));
    }
    Ok((name.into(), value.into()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.topic)?;
        for (at, (name, value)) in self.options.iter().enumerate() {
            f.write_str(if at == 0 { "?" } else { "&" })?;
            f.write_str(name)?;
            if !value.is_empty() {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for text in
            ["mqtt://a/b", "mqtt://a/+/c/#", "cloud-2://t?qos=1&retain", "mqtt://", "m://?x=1"]
        {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_broken_address_says_what_is_missing() {
        let cases = [
            ("sensors/temp", "it has no `scheme://`"),
            ("://topic", "the scheme before `://` is empty"),
            ("mq tt://topic", "the scheme `mq tt` contains ` `"),
            ("mqtt://t?=1", "the option `=1` has no name"),
        ];
        for (text, reason) in cases {
            assert_eq!(Address::parse(text).unwrap_err(), reason);
        }
    }
}
