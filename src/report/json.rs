//! How bytes and nouns stand in JSON.
//!
//! Every byte string is an object. `text` is its form as redis-cli shows it, which `--key` and `--keys-from` take
//! back. Where that is not the bytes themselves, `base64` stands beside it. So a reader that never looks at `text`
//! when there is a `base64` needs no unescaping and loses nothing.

use std::fmt::Display;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use crate::model::{DbIndex, Expiry, Key, Kind, Millis, escape};

/// A byte string in JSON.
pub(super) struct Blob<'a>(pub(super) &'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = escape(self.0);
        let plain = text.as_bytes() == self.0;
        let mut object = serializer.serialize_struct("Blob", 1 + usize::from(!plain))?;
        object.serialize_field("text", &text)?;
        if !plain {
            object.serialize_field("base64", &base64(self.0))?;
        }
        object.end()
    }
}

/// An object with a key for every replica, in datacenter order.
pub(super) struct ByReplica<'a, T>(pub(super) Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for ByReplica<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            let is_padding = place > chunk.len();
            out.push(if is_padding { '=' } else { char::from(digit) });
        }
    }
    out
}

// For `#[serde(serialize_with = "…")]`, which passes references.

pub(super) fn shown<S: Serializer>(noun: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(noun)
}

pub(super) fn db<S: Serializer>(db: &DbIndex, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u32(db.0)
}

pub(super) fn key<S: Serializer>(key: &Key, to: S) -> Result<S::Ok, S::Error> {
    Blob(key.as_bytes()).serialize(to)
}

pub(super) fn blob<S: Serializer>(bytes: &Option<Bytes>, to: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(Blob).serialize(to)
}

pub(super) fn blobs<S: Serializer>(all: &[Option<Bytes>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(all.iter().map(|bytes| bytes.as_deref().map(Blob)))
}

pub(super) fn kind<S: Serializer>(kind: &Option<Kind>, to: S) -> Result<S::Ok, S::Error> {
    kind.map(Kind::name).serialize(to)
}

pub(super) fn expiry<S: Serializer>(expiry: &Expiry, to: S) -> Result<S::Ok, S::Error> {
    expiry_millis(*expiry).serialize(to)
}

pub(super) fn millis<S: Serializer>(at: &Millis, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i64(at.0)
}

pub(super) fn maybe_millis<S: Serializer>(at: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.0).serialize(to)
}

pub(super) fn all_shown<S: Serializer>(nouns: &[impl Display], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(nouns.iter().map(ToString::to_string))
}

/// Milliseconds since the Unix epoch; nothing for never.
pub(super) fn expiry_millis(expiry: Expiry) -> Option<i64> {
    match expiry {
        Expiry::At(Millis(at)) => Some(at),
        Expiry::Never => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        serde_json::to_string(&Blob(bytes)).unwrap()
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in table {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn base64_stands_only_where_the_text_is_not_the_bytes() {
        assert_eq!(json(b"user:1"), r#"{"text":"user:1"}"#);
        assert_eq!(json(b""), r#"{"text":""}"#);
        assert_eq!(json(b"\xff"), r#"{"text":"\\xff","base64":"/w=="}"#);
        assert_eq!(json(b"\\xff"), r#"{"text":"\\\\xff","base64":"XHhmZg=="}"#);
    }
}
