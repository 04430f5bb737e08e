//! A value's bytes as a part of a JSON document.

use serde_json::value::RawValue;

/// Appends a member to a JSON object: `"value"` for JSON, `"text"` for other text, `"hex"` for other bytes.
pub(crate) fn append(out: &mut String, encoding: &str, bytes: &[u8]) {
    if encoding.contains("json")
        && let Ok(value) = serde_json::from_slice::<&RawValue>(bytes)
    {
        out.push_str("\"value\":");
        // Outside of its strings JSON may have line breaks, which would end the line of an event.
        out.extend(value.get().chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }));
    } else if let Ok(text) = std::str::from_utf8(bytes) {
        out.push_str("\"text\":");
        append_text(out, text);
    } else {
        out.push_str("\"hex\":\"");
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
            }
        }
        out.push('"');
    }
}

/// Appends a string as JSON.
pub(crate) fn append_text(out: &mut String, text: &str) {
    // A string always serializes.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_json_text_or_hexadecimal_digits() {
        let member = |encoding: &str, bytes: &[u8]| {
            let mut out = String::new();
            append(&mut out, encoding, bytes);
            assert!(
                serde_json::from_str::<serde_json::Value>(&format!("{{{out}}}")).is_ok(),
                "{out}"
            );
            out
        };
        assert_eq!(member("application/json", b"{\"a\":\n1}"), "\"value\":{\"a\": 1}");
        assert_eq!(member("application/json", b"\"line\\nbreak\""), "\"value\":\"line\\nbreak\"");
        assert_eq!(member("application/json", b"{broken"), "\"text\":\"{broken\"");
        assert_eq!(member("text/plain", b"a\"b"), "\"text\":\"a\\\"b\"");
        assert_eq!(member("application/octet-stream", &[0xff, 0x01]), "\"hex\":\"ff01\"");
        assert_eq!(member("application/json", b""), "\"text\":\"\"");
    }
}
