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
    if text.bytes().all(|byte| byte.is_ascii_digit()) && text.trim_matches('0') != "" {
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
        let text = deserializer.deserialize_any(Text("a duration like 500ms, 1s or 7d"))?;
        duration(&text).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for YamlSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(Text("a size like 512MiB or 1GiB"))?;
        size(&text).map(Self).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for YamlNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(Text("a number like 0.5"))?;
        text.trim()
            .parse()
            .map(Self)
            .map_err(|_| D::Error::custom(format!("`{text}` is not a number, write one like 0.5")))
    }
}

/// The text of a scalar, whether YAML takes it for a text or a number.
struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
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
