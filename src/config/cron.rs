//! Cron expressions of five fields: minute, hour, day, month, weekday.

use std::fmt;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

/// A cron expression that is due some day. It speaks of the time on a wall; which instant that is, is the calendar's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    parsed: Arc<croner::Cron>,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, to stand in brackets; nothing where its shape is wrong already.
    pub fn parse(text: &str) -> Result<Self, Option<String>> {
        if !has_five_fields(text) {
            return Err(None);
        }
        let parsed = parse(text).map_err(|error| Some(complaint(text, &error)))?;
        let cron = Self {
            text: text.to_owned(),
            parsed: Arc::new(parsed),
        };
        // Eight years hold a leap day, also around a century.
        match cron.next(some_day()) {
            Some(next) if (next - some_day()).num_days() < 9 * 366 => Ok(cron),
            _ => Err(Some("there is no such day".into())),
        }
    }

    /// The first time on the wall after this one at which it is due.
    pub fn next(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        self.parsed.find_next_occurrence(&after, false).ok()
    }

    /// The last time on the wall up to this one at which it was due.
    pub fn previous(&self, until: NaiveDateTime) -> Option<NaiveDateTime> {
        self.parsed.find_previous_occurrence(&until, true).ok()
    }

    /// The shortest time between two times at which it is due, of the first few hundred: what jitter is held to.
    pub(super) fn shortest_distance(&self) -> Option<chrono::TimeDelta> {
        const LOOKED_AT: usize = 200;
        let times = std::iter::successors(self.next(some_day()), |last| self.next(*last));
        let times: Vec<NaiveDateTime> = times.take(LOOKED_AT).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).min()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn some_day() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2026, 1, 1)
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .expect("the first of January has a midnight")
}

fn has_five_fields(text: &str) -> bool {
    let field = |field: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"*/,-?#".contains(&byte);
        field.bytes().all(allowed)
    };
    text.split_whitespace().count() == 5 && text.split_whitespace().all(field)
}

fn parse(text: &str) -> Result<croner::Cron, CronError> {
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    parser.parse(text)
}

/// The parser's complaint, with the field that it is about: it does not say.
fn complaint(text: &str, error: &CronError) -> String {
    const NAMES: [&str; 5] = ["minute", "hour", "day", "month", "weekday"];
    let fields = text.split_whitespace().zip(NAMES).enumerate();
    for (index, (field, name)) in fields {
        let mut alone = ["*"; 5];
        alone[index] = field;
        if let Err(error) = parse(&alone.join(" ")) {
            return format!("{name} `{field}`: {}", reason(&error));
        }
    }
    reason(error)
}

/// The parser's complaint as a clause: without its kind, its capital and its full stop.
fn reason(error: &CronError) -> String {
    let text = error.to_string();
    let text = text
        .split_once(": ")
        .map_or(text.as_str(), |(_, what)| what);
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
