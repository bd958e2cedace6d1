//! What `undo` says: what became of each write of the run, as it is decided, and the counts at the end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::cli::args::Format;
use crate::repair::{UndoFinding, UndoSummary};

use super::json::Blob;
use super::output::Output;
use super::{Shape, human};

/// The schema of the one document, and of the last line.
const UNDO_SCHEMA: &str = "reknit.undo/1";
/// The schema of a finding's line.
const FINDING_SCHEMA: &str = "reknit.undone/1";

/// Says what an undo does. The JSON forms keep nothing; the human form keeps the first that it will show.
pub struct UndoReport {
    shape: Shape,
    undoes: u64,
    dry_run: bool,
    show: usize,
    out: Output,
    kept: Vec<UndoFinding>,
    said: u64,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'static str>,
    key: Blob<'a>,
    db: u32,
    replica: &'a str,
    fate: &'static str,
    reason: Option<&'a str>,
    operations: &'a [String],
}

#[derive(Serialize)]
struct Tail<'a> {
    undoes: u64,
    dry_run: bool,
    fates: Option<&'a BTreeMap<&'static str, u64>>,
    lost: Vec<LostJson<'a>>,
    forgetful: Vec<String>,
    tripped: Vec<String>,
    interrupted: bool,
    error: Option<&'a str>,
    exit_code: u8,
}

#[derive(Serialize)]
struct LostJson<'a> {
    replica: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct LastLine<'a> {
    schema: &'static str,
    #[serde(flatten)]
    tail: Tail<'a>,
}

impl<'a> FindingJson<'a> {
    fn new(finding: &'a UndoFinding) -> Self {
        Self {
            schema: None,
            key: Blob(finding.key.as_bytes()),
            db: finding.db.0,
            replica: &finding.replica.0,
            fate: finding.fate.name(),
            reason: finding.fate.reason(),
            operations: &finding.ops,
        }
    }
}

impl UndoReport {
    /// A report on undoing this run; the human form shows so many writes.
    pub fn new(
        shape: Shape,
        undoes: u64,
        dry_run: bool,
        show: usize,
        out: Box<dyn Write + Send>,
    ) -> Self {
        Self {
            shape,
            undoes,
            dry_run,
            show,
            out: Output::new(out),
            kept: Vec::new(),
            said: 0,
        }
    }

    /// Names the run, where it became known only later.
    pub fn undoes(&mut self, run: u64) {
        self.undoes = run;
    }

    /// Says what became of one write.
    pub fn finding(&mut self, finding: &UndoFinding) {
        self.say(finding)
            .expect("a finding has string keys and no floats, so it is always JSON");
    }

    fn say(&mut self, finding: &UndoFinding) -> io::Result<()> {
        let mut json = FindingJson::new(finding);
        match self.shape.format {
            Format::Human => {
                if self.kept.len() < self.show {
                    self.kept.push(finding.clone());
                }
            }
            Format::Json => {
                self.open();
                self.out.put(if self.said == 0 { b"\n" } else { b",\n" });
                self.out.put(&serde_json::to_vec(&json)?);
            }
            Format::Ndjson => {
                json.schema = Some(FINDING_SCHEMA);
                self.out.put(&serde_json::to_vec(&json)?);
                self.out.put(b"\n");
            }
        }
        self.said += 1;
        Ok(())
    }

    fn open(&mut self) {
        if self.said == 0 {
            let head = format!("{{\"schema\":\"{UNDO_SCHEMA}\",\"writes\":[");
            self.out.put(head.as_bytes());
        }
    }

    /// Says what it amounts to.
    ///
    /// # Errors
    /// The first error of writing; a broken pipe is none.
    pub fn finish(self, summary: &UndoSummary, exit_code: u8) -> io::Result<()> {
        if self.shape.format == Format::Human {
            let page = human::undo(
                &self.shape,
                (self.undoes, self.dry_run),
                summary,
                &self.kept,
            );
            let mut out = self.out;
            out.put(page.as_bytes());
            return out.close();
        }
        let lost = summary.lost.iter();
        let tail = Tail {
            undoes: self.undoes,
            dry_run: self.dry_run,
            fates: Some(&summary.counts),
            lost: lost
                .map(|(replica, reason)| LostJson {
                    replica: &replica.0,
                    reason,
                })
                .collect(),
            forgetful: summary.forgetful.iter().map(ToString::to_string).collect(),
            tripped: summary.tripped.iter().map(ToString::to_string).collect(),
            interrupted: summary.interrupted,
            error: None,
            exit_code,
        };
        self.end(tail)
    }

    /// Ends the report of an undo that came to nothing; errors for people go to standard error.
    ///
    /// # Errors
    /// The first error of writing; a broken pipe is none.
    pub fn fail(self, error: &str, exit_code: u8) -> io::Result<()> {
        if self.shape.format == Format::Human {
            return self.out.close();
        }
        let tail = Tail {
            undoes: self.undoes,
            dry_run: self.dry_run,
            fates: None,
            lost: Vec::new(),
            forgetful: Vec::new(),
            tripped: Vec::new(),
            interrupted: false,
            error: Some(error),
            exit_code,
        };
        self.end(tail)
    }

    fn end(mut self, tail: Tail<'_>) -> io::Result<()> {
        match self.shape.format {
            Format::Human => {}
            Format::Json => {
                self.open();
                let tail = serde_json::to_string(&tail)?;
                self.out.put(b"\n],");
                self.out.put(tail.trim_start_matches('{').as_bytes());
                self.out.put(b"\n");
            }
            Format::Ndjson => {
                let schema = UNDO_SCHEMA;
                self.out
                    .put(&serde_json::to_vec(&LastLine { schema, tail })?);
                self.out.put(b"\n");
            }
        }
        self.out.close()
    }
}
