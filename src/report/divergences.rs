//! The keys that a run of the service found to differ.
//!
//! They come as the API's JSON. The JSON forms pass it on as it is; the form for people reads what it shows.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text::{count, tame, thousands};
use super::{Shape, document};

/// The schema.
const SCHEMA: &str = "reknit.divergences/1";

/// Keys that differ, or did, as the service says it.
#[derive(Serialize)]
pub struct DivergencesReport {
    run: u64,
    total: u64,
    divergences: Vec<Value>,
    #[serde(skip)]
    seen: Vec<Seen>,
}

/// What is shown of a key.
#[derive(Deserialize)]
struct Seen {
    key: String,
    db: u32,
    #[serde(rename = "type")]
    kind: Option<String>,
    difference: String,
    verdict: String,
    reason: Option<String>,
    changes: Vec<SeenChange>,
}

/// What is shown of a change.
#[derive(Deserialize)]
struct SeenChange {
    replica: String,
    operations: Vec<String>,
    fate: String,
}

impl DivergencesReport {
    /// Reads what the service says of a run: some keys, of so many.
    ///
    /// # Errors
    /// When something is missing: it is another version.
    pub fn read(run: u64, divergences: Vec<Value>, total: u64) -> serde_json::Result<Self> {
        let seen = divergences.iter().map(Seen::deserialize);
        Ok(Self {
            seen: seen.collect::<Result<_, _>>()?,
            run,
            total,
            divergences,
        })
    }

    /// Writes the report.
    ///
    /// # Errors
    /// An error of writing; a broken pipe is none.
    pub fn write(&self, shape: &Shape, exit_code: u8, out: &mut dyn Write) -> io::Result<()> {
        document::write(shape, SCHEMA, self, || self.page(), exit_code, out)
    }

    fn page(&self) -> String {
        let head = match self.total {
            0 => return format!("run {} found no key that differs\n", self.run),
            total => format!("run {}: {} differed", self.run, count(total, "key")),
        };
        let mut lines = vec![head];
        lines.extend(self.seen.iter().flat_map(Seen::lines));
        let more = self.total.saturating_sub(self.seen.len() as u64);
        if more > 0 {
            let words = "`--limit` shows more of those that are kept";
            lines.push(format!("and {} more, {words}", thousands(more)));
        }
        lines.join("\n")
    }
}

impl Seen {
    fn lines(&self) -> Vec<String> {
        let db = match self.db {
            0 => String::new(),
            number => format!(" (db {number})"),
        };
        let kind = self.kind.as_deref().unwrap_or("unread");
        let reason = self.reason.as_deref().map(tame);
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let key = &self.key;
        let mut lines = vec![format!(
            "\"{key}\"{db}: {kind}, {}, {}{reason}",
            self.difference, self.verdict
        )];
        lines.extend(self.changes.iter().map(|change| {
            let operations = tame(&change.operations.join(", "));
            format!("  {}: {operations} ({})", change.replica, change.fate)
        }));
        lines
    }
}
