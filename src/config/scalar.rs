//! Numbers with units as they are written in YAML and on the command line: `1s`, `7d`, `1GiB`, `0.01`.
//!
//! Each is read by its own `Deserialize`, so that the parser marks an error with the line and column of the value.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Reads a duration such as `500ms`, `1s`, `7d`.
///
/// # Errors
/// What is wrong and how a duration is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(format!(
            "the duration `{text}` is negative, write one like 1s or 0s"
        ));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.trim_matches('0').is_empty() {
        return Err(format!(
            "the duration `{text}` has no unit, write `{text}s` for seconds"
        ));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration, write one like 500ms, 1s, 15m, 7d"))
}

/// Reads a size such as `512MiB` or `1GiB`; without a unit, bytes.
///
/// # Errors
/// What is wrong and how a size is written.
pub fn size(text: &str) -> Result<ByteSize, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(format!(
            "the size `{text}` is negative, write one like 512MiB or 1GiB"
        ));
    }
    text.parse()
        .map_err(|_| format!("`{text}` is not a size, write one like 512MiB or 1GiB"))
}

/// A duration in YAML.
#[derive(Debug, Clone, Copy)]
pub(super) struct YamlDuration(pub(super) Duration);

/// A size in YAML.
#[derive(Debug, Clone, Copy)]
pub(super) struct YamlSize(pub(super) ByteSize);

/// A number with or without a fraction in YAML.
#[derive(Debug, Clone, Copy)]
pub(super) struct YamlNumber(pub(super) f64);

impl<'de> Deserialize<'de> for YamlDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar {
            expected: "a duration like 500ms, 1s or 7d",
            read: duration,
        };
        deserializer.deserialize_any(scalar).map(Self)
    }
}

impl<'de> Deserialize<'de> for YamlSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar {
            expected: "a size like 512MiB or 1GiB",
            read: size,
        };
        deserializer.deserialize_any(scalar).map(Self)
    }
}

impl<'de> Deserialize<'de> for YamlNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar {
            expected: "a number like 0.5",
            read: number,
        };
        deserializer.deserialize_any(scalar).map(Self)
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("`{text}` is not a number, write one like 0.5"))
}

/// A scalar read from its text, whether YAML takes it for a text or a number.
///
/// SUBTLE: it is read inside the visitor, because the parser marks only errors from there with the scalar's place.
struct Scalar<T> {
    expected: &'static str,
    read: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        let table = [
            ("5", "the duration `5` has no unit, write `5s` for seconds"),
            (
                "-1s",
                "the duration `-1s` is negative, write one like 1s or 0s",
            ),
            (
                "soon",
                "`soon` is not a duration, write one like 500ms, 1s, 15m, 7d",
            ),
            (
                "",
                "`` is not a duration, write one like 500ms, 1s, 15m, 7d",
            ),
        ];
        for (text, error) in table {
            assert_eq!(duration(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_have_units_or_are_bytes() {
        assert_eq!(size("1GiB"), Ok(ByteSize::gib(1)));
        assert_eq!(size("1024"), Ok(ByteSize::kib(1)));
        let table = [
            (
                "-1",
                "the size `-1` is negative, write one like 512MiB or 1GiB",
            ),
            ("big", "`big` is not a size, write one like 512MiB or 1GiB"),
        ];
        for (text, error) in table {
            assert_eq!(size(text), Err(error.to_owned()), "{text}");
        }
    }
}
