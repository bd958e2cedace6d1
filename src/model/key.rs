//! Keys are bytes. They are shown escaped, the way redis-cli shows them, and parsed back from that form.

use std::borrow::Borrow;
use std::fmt;

use bytes::Bytes;

/// The name of a top-level key, any bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// A key from any bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// A key copied from borrowed bytes.
    pub fn copied(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The raw bytes, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Whether reknit itself wrote this key (see [`super::OWN_PREFIX`]).
    pub fn is_own(&self) -> bool {
        self.0.starts_with(super::OWN_PREFIX)
    }

    /// Whether reknit remembers by this key: a marker, or the list of state directories.
    pub fn is_marker(&self) -> bool {
        self.0.starts_with(super::MARKER_PREFIX) || self.0 == super::STATES_KEY
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", escape(&self.0))
    }
}

/// Lets sets and maps of keys be asked with borrowed bytes; order and hash are those of the bytes.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::copied(text.as_bytes())
    }
}

/// Bytes as redis-cli shows them, without the quotes: printable ASCII as it is, `\n \r \t \a \b \\ \"`, else `\xhh`.
///
/// The form is lossless: [`unescape`] gives the bytes back.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'"' => out.push_str("\\\""),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// The bytes that an escaped text stands for; the inverse of [`escape`]. Text beyond ASCII is taken as UTF-8.
///
/// # Errors
/// The text of the escape that cannot be read.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let (byte, used) = unescape_one(&bytes[at + 1..]).ok_or_else(|| {
            format!("unreadable escape at byte {at} of `{text}`, write a backslash as \\\\")
        })?;
        out.push(byte);
        at += 1 + used;
    }
    Ok(out)
}

/// The byte behind one backslash, and how many bytes of text it took.
fn unescape_one(rest: &[u8]) -> Option<(u8, usize)> {
    match rest.first()? {
        b'\\' => Some((b'\\', 1)),
        b'"' => Some((b'"', 1)),
        b'n' => Some((b'\n', 1)),
        b'r' => Some((b'\r', 1)),
        b't' => Some((b'\t', 1)),
        b'a' => Some((0x07, 1)),
        b'b' => Some((0x08, 1)),
        b'x' => {
            let digits = rest.get(1..3)?;
            // A sign is no digit.
            let are_digits = digits.iter().all(u8::is_ascii_hexdigit);
            let digits = std::str::from_utf8(digits).ok().filter(|_| are_digits)?;
            Some((u8::from_str_radix(digits, 16).ok()?, 3))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_is_lossless_for_every_byte() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)).unwrap(), all);
    }

    #[test]
    fn binary_names_look_as_in_redis_cli() {
        assert_eq!(escape(b"a\"b\\c\n\x00\xff"), r#"a\"b\\c\n\x00\xff"#);
    }

    #[test]
    fn a_broken_escape_is_named() {
        assert!(unescape(r"a\q").unwrap_err().contains("byte 1"));
        assert!(unescape(r"a\x4").is_err());
        assert!(unescape(r"a\x+4").is_err());
    }
}
