//! The rights of callers.

use std::fmt;

/// The rights of a caller, by patterns of keys.
///
/// In a pattern `*` matches any number of characters: `sensor.*`, `*.temp`, `*`. A right that is not named is not granted.
///
/// ```
/// use aimdb_console::Grants;
///
/// let operator = Grants::none().read("*").set("config.*");
/// assert!(operator.may_read("sensor.temp") && operator.may_set("config.limit"));
/// assert!(!operator.may_set("sensor.temp"));
/// assert!(!Grants::none().may_read("sensor.temp"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    read: Vec<Pattern>,
    observe: Vec<Pattern>,
    set: Vec<Pattern>,
}

impl Grants {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// To read and to observe every exposed record.
    #[must_use]
    pub fn read_only() -> Self {
        Self::none().read("*").observe("*")
    }

    /// To read and to observe every exposed record, and to set every settable one.
    #[must_use]
    pub fn all() -> Self {
        Self::read_only().set("*")
    }

    /// Adds: to read the newest values of the records that `pattern` covers.
    #[must_use]
    pub fn read(mut self, pattern: impl Into<String>) -> Self {
        self.read.push(Pattern(pattern.into()));
        self
    }

    /// Adds: to stream the values of the records that `pattern` covers, the present one first. The writers of an observed record pay for its
    /// observers.
    #[must_use]
    pub fn observe(mut self, pattern: impl Into<String>) -> Self {
        self.observe.push(Pattern(pattern.into()));
        self
    }

    /// Adds: to set the records that `pattern` covers.
    #[must_use]
    pub fn set(mut self, pattern: impl Into<String>) -> Self {
        self.set.push(Pattern(pattern.into()));
        self
    }

    /// Whether the newest value of the record `key` may be read.
    #[must_use]
    pub fn may_read(&self, key: &str) -> bool {
        self.read.iter().any(|pattern| pattern.covers(key))
    }

    /// Whether the values of the record `key` may be streamed.
    #[must_use]
    pub fn may_observe(&self, key: &str) -> bool {
        self.observe.iter().any(|pattern| pattern.covers(key))
    }

    /// Whether the record `key` may be set.
    #[must_use]
    pub fn may_set(&self, key: &str) -> bool {
        self.set.iter().any(|pattern| pattern.covers(key))
    }

    /// Whether anything is granted.
    pub(crate) fn is_none(&self) -> bool {
        self.read.is_empty() && self.observe.is_empty() && self.set.is_empty()
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |patterns: &[Pattern]| match patterns {
            [] => "nothing".to_owned(),
            some => some.iter().map(|pattern| &*pattern.0).collect::<Vec<_>>().join(", "),
        };
        let Self { read, observe, set } = self;
        write!(f, "read: {}; observe: {}; set: {}", list(read), list(observe), list(set))
    }
}

/// A key, in which `*` matches any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

impl Pattern {
    pub(crate) fn covers(&self, key: &str) -> bool {
        let mut parts = self.0.split('*');
        // `split` yields at least one part: what must stand at the beginning.
        let Some(mut rest) = parts.next().and_then(|first| key.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_everything_else_for_itself() {
        for (pattern, key, covers) in [
            ("*", "", true),
            ("*", "a.b", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("", "a", false),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a*a", "aba", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a**c", "abc", true),
            ("ü*", "über", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.c", false),
        ] {
            assert_eq!(Pattern(pattern.into()).covers(key), covers, "{pattern} {key}");
        }
    }
}
