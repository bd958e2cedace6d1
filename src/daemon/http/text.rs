//! Texts that have a form: the document says it as a pattern, and what does not fit is refused here.
//!
//! What fits and yet names nothing, such as slots from behind to before, is answered as what is not there.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use crate::model::{Key, Slot, SlotRange, unescape};

/// How long a reason may be.
const REASON_CHARACTERS: usize = 1024;

/// A key, escaped as redis-cli shows it: `\"`, `\\`, `\n`, `\r`, `\t`, `\a`, `\b` and `\x00`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(pattern = r#"^([^\\]|\\(["\\nrtab]|x[0-9A-Fa-f]{2}))*$"#)]
pub struct EscapedKey(String);

impl EscapedKey {
    /// The key.
    ///
    /// # Errors
    /// When an escape cannot be read.
    pub fn read(&self) -> Result<Key, ApiError> {
        let bytes = unescape(&self.0)
            .map_err(|error| ApiError::invalid(format!("key `{}`: {error}", self.0)))?;
        Ok(Key::new(bytes))
    }
}

/// Slots, as `A-B` or a single `A`; the last there is is 16383.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(
    pattern = "^0*([0-9]{1,4}|1[0-5][0-9]{3}|16[0-2][0-9]{2}|163[0-7][0-9]|1638[0-3])(-0*([0-9]{1,4}|1[0-5][0-9]{3}|16[0-2][0-9]{2}|163[0-7][0-9]|1638[0-3]))?$"
)]
pub struct Slots(String);

impl Slots {
    /// The slots.
    ///
    /// # Errors
    /// When it is no range, or an empty one.
    pub fn read(&self) -> Result<SlotRange, ApiError> {
        let text = &self.0;
        let is_plain = |byte: u8| byte == b'-' || byte.is_ascii_digit();
        let slot = |part: &str| part.parse().ok().and_then(Slot::new);
        let ends = text.split_once('-');
        let ends = ends.and_then(|(first, last)| slot(first).zip(slot(last)));
        match text.parse() {
            Ok(slots) if text.bytes().all(is_plain) => Ok(slots),
            Err(why) if ends.is_some_and(|(first, last)| first > last) => {
                Err(ApiError::not_found(format!("{why}: no slot is selected")))
            }
            Ok(_) | Err(_) => Err(ApiError::invalid(format!(
                "`{text}` is not a slot number or two of 0 to 16383, such as 0-8191"
            ))),
        }
    }
}

/// Why something is done, for the log of runs: one line, without control characters.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", max_length = 1024)]
pub struct Reason(String);

impl Reason {
    /// The line.
    ///
    /// # Errors
    /// When it is too long, or has control characters.
    pub fn read(self) -> Result<String, ApiError> {
        match self.0.chars().any(char::is_control) || self.0.chars().count() > REASON_CHARACTERS {
            false => Ok(self.0),
            true => Err(ApiError::invalid(format!(
                "`reason` is one line of at most {REASON_CHARACTERS} characters, without control characters"
            ))),
        }
    }
}

/// A place in a journal: a step, and how many of its writes lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) step: u64,
    pub(super) passed: u64,
}

impl Place {
    /// What a `next` named; a place behind all that there can be is one, too.
    ///
    /// # Errors
    /// When it is no place.
    pub(super) fn read(text: &str) -> Result<Self, ApiError> {
        let number = |part: &str| {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| part.parse().unwrap_or(u64::MAX))
        };
        let parts = text.split_once('-');
        let place = parts.and_then(|(step, passed)| {
            Some(Self {
                step: number(step)?,
                passed: number(passed)?,
            })
        });
        place.ok_or_else(|| {
            ApiError::invalid("`after` is no place: take the `next` of the page before")
        })
    }

    /// The place behind a write of this step.
    pub(super) fn behind(self, step: u64) -> Self {
        Self {
            step,
            passed: if self.step == step {
                self.passed + 1
            } else {
                1
            },
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.step, self.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_are_none_are_told_from_such_that_select_nothing() {
        let read = |text: &str| Slots(text.into()).read();
        for text in ["0-8191", "16383", "7-7", "0000012-13"] {
            assert!(read(text).is_ok(), "{text}");
        }
        for text in ["", "-", "1-", " 1-2", "+1", "0-16384", "1-2-3", "٣"] {
            let refused = read(text).unwrap_err();
            assert!(
                matches!(&refused, one if *one == ApiError::invalid(one.message())),
                "{text}"
            );
        }
        let empty = read("5-2").unwrap_err();
        assert_eq!(empty, ApiError::not_found(empty.message()));
    }

    #[test]
    fn a_place_behind_all_is_one() {
        let read = |text: &str| Place::read(text).ok().map(|place| place.to_string());
        assert_eq!(read("7-3").as_deref(), Some("7-3"));
        let last = u64::MAX;
        assert_eq!(read("99999999999999999999-0"), Some(format!("{last}-0")));
        for text in ["", "-", "7", "7-", "-3", "+7-3", "7-3-1", "a-b"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
