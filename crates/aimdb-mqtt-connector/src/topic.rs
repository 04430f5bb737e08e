//! Topics and filters, as MQTT 5 section 4.7 defines them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The longest topic or filter MQTT can carry, in bytes.
const MAX_LENGTH: usize = 65_535;

/// The most levels of a topic or filter. MQTT has no limit, but brokers end the connection over theirs: EMQX has 128,
/// Mosquitto 200.
const MAX_LEVELS: usize = 128;

/// Why `topic` cannot name a message; `None` if it can.
pub(crate) fn topic_fault(topic: &str) -> Option<String> {
    if let Some(wildcard) = topic.chars().find(|c| matches!(c, '+' | '#')) {
        return Some(format!(
            "contains the wildcard `{wildcard}`, but a message needs one exact topic"
        ));
    }
    common_fault(topic)
}

/// Why `filter` cannot be subscribed to; `None` if it can.
pub(crate) fn filter_fault(filter: &str) -> Option<String> {
    if let Some(shared) = filter.strip_prefix("$share/") {
        let Some((group, rest)) = shared.split_once('/') else {
            return Some(
                "is a shared subscription without a filter; write `$share/<group>/<filter>`".into(),
            );
        };
        if group.is_empty() || group.contains(['+', '#']) {
            return Some("is a shared subscription whose group is empty or has a wildcard".into());
        }
        return filter_fault(rest);
    }
    let levels: Vec<&str> = filter.split('/').collect();
    for (index, level) in levels.iter().enumerate() {
        if level.contains('#') && (*level != "#" || index + 1 != levels.len()) {
            return Some("has a `#` that is not a level of its own at the end".into());
        }
        if level.contains('+') && *level != "+" {
            return Some("has a `+` that is not a level of its own".into());
        }
    }
    common_fault(filter)
}

fn common_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("is empty".into())
    } else if let Some(fault) = text_fault(name) {
        Some(fault)
    } else if name.bytes().filter(|byte| *byte == b'/').count() >= MAX_LEVELS {
        Some(format!(
            "has more than {MAX_LEVELS} levels, for which a broker may end the connection"
        ))
    } else {
        None
    }
}

/// Why `text` cannot be a string of MQTT; `None` if it can.
pub(crate) fn text_fault(name: &str) -> Option<String> {
    if name.contains('\0') {
        Some("contains a NUL character".into())
    } else if name.len() > MAX_LENGTH {
        Some(format!("is {} bytes long, {MAX_LENGTH} is the most MQTT can carry", name.len()))
    } else {
        name.chars().find(|c| is_forbidden(*c)).map(|forbidden| {
            format!(
                "contains the character U+{:04X}, for which a broker may end the connection",
                forbidden as u32
            )
        })
    }
}

/// The characters that a UTF-8 string of MQTT should not contain (section 1.5.4): control characters and
/// non-characters.
fn is_forbidden(character: char) -> bool {
    let code = character as u32;
    character.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

/// The filter of a shared subscription without its group; any other filter as it is.
pub(crate) fn without_group(filter: &str) -> &str {
    filter
        .strip_prefix("$share/")
        .and_then(|shared| shared.split_once('/'))
        .map_or(filter, |(_, plain)| plain)
}

/// The parts of `topic` that the wildcards of `filter` match, in order; `None` if the filter does not match the topic.
/// A `#` matches one part, which may contain slashes and may be empty.
pub(crate) fn matched_parts<'t>(filter: &str, topic: &'t str) -> Option<Vec<&'t str>> {
    let filter = without_group(filter);
    // MQTT 5, 4.7.2: a wildcard in the first level does not match the broker's own topics, which begin with `$`.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let mut parts = Vec::new();
    let mut rest = Some(topic);
    for level in filter.split('/') {
        if level == "#" {
            parts.push(rest.unwrap_or(""));
            return Some(parts);
        }
        let (part, after) = match rest?.split_once('/') {
            Some((part, after)) => (part, Some(after)),
            None => (rest?, None),
        };
        if level == "+" {
            parts.push(part);
        } else if level != part {
            return None;
        }
        rest = after;
    }
    rest.is_none().then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_yields_the_parts_that_its_wildcards_matched() {
        let cases: &[(&str, &str, Option<&[&str]>)] = &[
            ("a/b", "a/b", Some(&[])),
            ("a/b", "a/c", None),
            ("a/b", "a/b/c", None),
            ("a/b/c", "a/b", None),
            ("a/+", "a/b", Some(&["b"])),
            ("a/+", "a/", Some(&[""])),
            ("a/+", "a", None),
            ("a/+", "a/b/c", None),
            ("+/+/c", "a/b/c", Some(&["a", "b"])),
            ("a/#", "a/b/c", Some(&["b/c"])),
            ("a/#", "a", Some(&[""])),
            ("#", "a/b", Some(&["a/b"])),
            ("#", "$SYS/uptime", None),
            ("+/uptime", "$SYS/uptime", None),
            ("$SYS/#", "$SYS/uptime", Some(&["uptime"])),
            ("$share/group/a/+", "a/b", Some(&["b"])),
        ];
        for (filter, topic, parts) in cases {
            assert_eq!(matched_parts(filter, topic).as_deref(), *parts, "{filter} on {topic}");
        }
    }

    #[test]
    fn a_filter_with_a_misplaced_wildcard_is_refused() {
        for filter in
            ["", "a/#/b", "a#", "a/b+", "$share/g", "$share//a", "$share/+/a", "$share/g/a#", "a\0"]
        {
            assert!(filter_fault(filter).is_some(), "{filter:?}");
        }
        for filter in ["a", "/", "+", "#", "a/+/b/#", "$share/g/a/#", "/a"] {
            assert_eq!(filter_fault(filter), None, "{filter:?}");
        }
    }

    #[test]
    fn a_topic_with_a_wildcard_is_refused() {
        for topic in ["", "a/+", "#", "a\0b", &"x".repeat(65_536)] {
            assert!(topic_fault(topic).is_some());
        }
        assert_eq!(topic_fault("a/b"), None);
    }

    #[test]
    fn what_a_broker_may_hang_up_on_is_refused() {
        for name in
            ["a\nb", "a\u{7f}", "a\u{85}", "\u{ffff}", "\u{fdd0}", "\u{1fffe}", &"a/".repeat(128)]
        {
            assert!(topic_fault(name).is_some() && filter_fault(name).is_some(), "{name:?}");
            assert!(filter_fault(&format!("$share/g/{name}")).is_some(), "{name:?}");
        }
        for name in ["ä/ö", "日本", "🦀", &"a/".repeat(127)] {
            assert_eq!(topic_fault(name), None, "{name:?}");
        }
    }
}
