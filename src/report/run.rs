//! The report of `diff` and `repair`: findings as they come, the summary at the end.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::args::Format;
use crate::model::{Datacenter, ReplicaName};
use crate::repair::{Finding, Listener, Mode, Summary};

use super::human;
use super::output::Output;
use super::shape::Shape;
use super::wire::{FindingJson, SummaryJson};

/// The schema of the one document.
const RUN_SCHEMA: &str = "reknit.run/1";
/// The schema of a finding's line.
const FINDING_SCHEMA: &str = "reknit.finding/1";
/// The schema of the last line.
const SUMMARY_SCHEMA: &str = "reknit.summary/1";

/// Says what a run finds: a [`Listener`] for the run, and [`Report::finish`] for its end.
///
/// # Cost
/// The JSON forms keep nothing; the human form keeps the first findings that it will show, which are the first in the
/// order of positions.
pub struct Report {
    shape: Shape,
    mode: Mode,
    replicas: Vec<(ReplicaName, Datacenter)>,
    show: usize,
    out: Output,
    kept: Vec<Finding>,
    seen: u64,
}

impl Report {
    /// A report on a run of this mode between these replicas, in datacenter order; the human form shows so many keys.
    pub fn new(
        shape: Shape,
        mode: Mode,
        replicas: Vec<(ReplicaName, Datacenter)>,
        show: usize,
        out: Box<dyn Write + Send>,
    ) -> Self {
        Self {
            shape,
            mode,
            replicas,
            show,
            out: Output::new(out),
            kept: Vec::new(),
            seen: 0,
        }
    }

    /// Whether nobody reads any more, or nothing can be written any more.
    pub fn is_closed(&self) -> bool {
        self.out.is_closed()
    }

    /// Says how the run ended.
    ///
    /// # Errors
    /// The first error of writing; a broken pipe is none.
    pub fn finish(mut self, summary: &Summary, exit_code: u8) -> io::Result<()> {
        match self.shape.format {
            Format::Human => {
                let page = human::run(&self.shape, self.mode, &self.replicas, summary, &self.kept);
                self.out.put(page.as_bytes());
            }
            Format::Json => self.close_document(Some(summary), None, exit_code)?,
            Format::Ndjson => self.last_line(Some(summary), None, exit_code)?,
        }
        self.out.close()
    }

    /// Ends the report of a run that came to nothing: the JSON forms carry the error, the human form is silent, because
    /// errors for people go to standard error.
    ///
    /// # Errors
    /// The first error of writing; a broken pipe is none.
    pub fn fail(mut self, error: &str, exit_code: u8) -> io::Result<()> {
        match self.shape.format {
            Format::Human => {}
            Format::Json => self.close_document(None, Some(error), exit_code)?,
            Format::Ndjson => self.last_line(None, Some(error), exit_code)?,
        }
        self.out.close()
    }

    fn say(&mut self, finding: &Finding) -> io::Result<()> {
        match self.shape.format {
            Format::Human => {
                if self.kept.len() < self.show {
                    self.kept.push(finding.clone());
                }
            }
            Format::Json => {
                if self.seen == 0 {
                    self.open_document()?;
                }
                self.out.put(if self.seen == 0 { b"\n" } else { b",\n" });
                let json = serde_json::to_vec(&FindingJson::new(finding, &self.replicas))?;
                self.out.put(&json);
            }
            Format::Ndjson => {
                let mut json = FindingJson::new(finding, &self.replicas);
                json.schema = Some(FINDING_SCHEMA);
                let line = serde_json::to_vec(&json)?;
                self.out.put(&line);
                self.out.put(b"\n");
            }
        }
        self.seen += 1;
        Ok(())
    }

    fn open_document(&mut self) -> io::Result<()> {
        let head = Head::new(RUN_SCHEMA, self.mode);
        let mut json = serde_json::to_string(&head)?;
        json.pop(); // the closing brace: the document goes on
        json.push_str(",\"findings\":[");
        self.out.put(json.as_bytes());
        Ok(())
    }

    fn close_document(
        &mut self,
        summary: Option<&Summary>,
        error: Option<&str>,
        exit_code: u8,
    ) -> io::Result<()> {
        if self.seen == 0 {
            self.open_document()?;
        }
        let tail = serde_json::to_string(&Tail::new(summary, error, exit_code, &self.replicas))?;
        self.out.put(b"\n],");
        self.out.put(tail.trim_start_matches('{').as_bytes());
        self.out.put(b"\n");
        Ok(())
    }

    fn last_line(
        &mut self,
        summary: Option<&Summary>,
        error: Option<&str>,
        exit_code: u8,
    ) -> io::Result<()> {
        let line = serde_json::to_vec(&LastLine {
            head: Head::new(SUMMARY_SCHEMA, self.mode),
            tail: Tail::new(summary, error, exit_code, &self.replicas),
        })?;
        self.out.put(&line);
        self.out.put(b"\n");
        Ok(())
    }
}

impl Listener for Report {
    fn finding(&mut self, finding: &Finding) {
        self.say(finding)
            .expect("a finding has string keys and no floats, so it is always JSON");
    }
}

#[derive(Serialize)]
struct Head {
    schema: &'static str,
    command: &'static str,
    dry_run: bool,
}

impl Head {
    fn new(schema: &'static str, mode: Mode) -> Self {
        let (command, dry_run) = match mode {
            Mode::Diff => ("diff", false),
            Mode::Plan => ("repair", true),
            Mode::Repair => ("repair", false),
        };
        Self {
            schema,
            command,
            dry_run,
        }
    }
}

#[derive(Serialize)]
struct Tail<'a> {
    summary: Option<SummaryJson<'a>>,
    error: Option<&'a str>,
    exit_code: u8,
}

impl<'a> Tail<'a> {
    fn new(
        summary: Option<&'a Summary>,
        error: Option<&'a str>,
        exit_code: u8,
        replicas: &'a [(ReplicaName, Datacenter)],
    ) -> Self {
        Self {
            summary: summary.map(|summary| SummaryJson::new(summary, replicas)),
            error,
            exit_code,
        }
    }
}

#[derive(Serialize)]
struct LastLine<'a> {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    tail: Tail<'a>,
}
