//! Numbers, times and bytes as people read them.

use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;

use crate::model::{Expiry, Kind, Millis, ReplicaName, escape};
use crate::repair::Summary;

/// A number with its thousands apart: `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number and its noun: `1 key`, `1,234 keys`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", thousands(number))
}

/// A size: `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// How long: milliseconds below a minute, whole seconds above.
pub(super) fn duration(duration: Duration) -> String {
    let rounded = if duration < Duration::from_secs(60) {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(duration.as_secs())
    };
    humantime::format_duration(rounded).to_string()
}

/// A span of milliseconds; nothing below zero.
pub(super) fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A time of the calendar: `2026-07-01 12:00:00Z`, with milliseconds where there are any.
pub(super) fn time(at: Millis) -> String {
    // Beyond the year 9999 and before 1970 the calendar form ends; the number is then all there is.
    let limit = Duration::from_secs(253_402_300_799);
    let Some(since) = u64::try_from(at.0)
        .ok()
        .map(Duration::from_millis)
        .filter(|since| *since <= limit)
    else {
        return format!("{} ms", at.0);
    };
    let instant = UNIX_EPOCH + since;
    let text = if since.subsec_millis() == 0 {
        humantime::format_rfc3339_seconds(instant).to_string()
    } else {
        humantime::format_rfc3339_millis(instant).to_string()
    };
    text.replacen('T', " ", 1)
}

/// When a key ends.
pub(super) fn expiry(expiry: Expiry) -> String {
    match expiry {
        Expiry::At(at) => time(at),
        Expiry::Never => "never".into(),
    }
}

/// A value of this type and length: `hash of 3 fields`.
pub(super) fn holding(kind: Kind, length: u64) -> String {
    let noun = match kind {
        Kind::String | Kind::Module => "byte",
        Kind::List => "element",
        Kind::Hash => "field",
        Kind::Set | Kind::SortedSet => "member",
        Kind::Stream if length == 1 => return "stream of 1 entry".into(),
        Kind::Stream => return format!("stream of {} entries", thousands(length)),
    };
    format!("{kind} of {}", count(length, noun))
}

/// A text of somebody else on one line: what would steer a terminal is shown escaped.
pub(super) fn tame(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for one in text.chars() {
        match one.is_control() {
            true => shown.extend(one.escape_default()),
            false => shown.push(one),
        }
    }
    shown
}

/// Bytes in quotes, escaped as redis-cli does.
pub(super) fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", escape(bytes))
}

/// A text cut to so many characters, the last of them `…` where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A text broken between words into lines of at most so many characters, indented, those after the first by two more.
pub(super) fn wrapped(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut words = text.split(' ');
    let mut lines = vec![format!("{indent}{}", words.next().unwrap_or_default())];
    for word in words {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.chars().count() + 1 + word.chars().count() > width {
            lines.push(format!("{indent}  {word}"));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}

/// Why a replica was lost, without its name, which stands beside it: errors of the store begin with it.
pub(super) fn without_name<'a>(name: &ReplicaName, reason: &'a str) -> &'a str {
    let rest = reason.strip_prefix("replica ");
    let rest = rest.and_then(|rest| rest.strip_prefix(name.0.as_str())?.strip_prefix(": "));
    rest.unwrap_or(reason)
}

/// How many keys there are on all replicas together: those of a replica and those that it lacked.
pub(super) fn union_of_keys(summary: &Summary) -> u64 {
    let replicas = summary.replicas.iter();
    let most = replicas.map(|replica| replica.keys + replica.missing).max();
    most.unwrap_or(0).max(summary.total().differing())
}

/// Names in a row: `us, eu and ap`.
pub(super) fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).into(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let table = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in table {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(count(1, "key"), "1 key");
        assert_eq!(count(0, "key"), "0 keys");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(Millis(1_790_000_000_000)), "2026-09-21 14:13:20Z");
        assert_eq!(time(Millis(1_790_000_000_123)), "2026-09-21 14:13:20.123Z");
        assert_eq!(time(Millis(-1)), "-1 ms");
        assert_eq!(time(Millis(i64::MAX - 1)), "9223372036854775806 ms");
    }

    #[test]
    fn durations_have_the_precision_that_matters() {
        assert_eq!(duration(Duration::from_micros(1_204_567)), "1s 204ms");
        assert_eq!(duration(Duration::from_millis(61_234)), "1m 1s");
        assert_eq!(millis(-5), Duration::ZERO);
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let lines = wrapped("one two three_and_more four", 8, " ");
        assert_eq!(lines, [" one two", "   three_and_more", "   four"]);
        assert_eq!(wrapped("", 8, ""), [""]);
    }

    #[test]
    fn a_replica_is_named_once() {
        let us = ReplicaName("us".into());
        assert_eq!(without_name(&us, "replica us: INFO: lost"), "INFO: lost");
        assert_eq!(without_name(&us, "replica usa: lost"), "replica usa: lost");
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(list(&["us", "eu", "ap"]), "us, eu and ap");
    }
}
