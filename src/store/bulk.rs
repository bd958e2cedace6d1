//! The bulk reader: SCAN, TYPE, PEXPIRETIME and the first page of every value, overlapped in one pipeline.
//!
//! ```text
//!  SCAN ──▶ waiting ──TYPE, PEXPIRETIME──▶ described ──first page──▶ sink
//!                                              └── larger than a page ──▶ large, read at the end
//! ```
//!
//! Never more than `depth` commands are under way, because a client of the same server waits as long as the pipeline
//! that it meets; nor more than a bounded number of bytes, because answers left unread fill the server's memory.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::model::{Digester, EntryRef, Key, Kind, MARKER_PREFIX, OWN_PREFIX, Position};

use super::observe::{
    Description, Read, TypeReply, is_last_piece, is_passing, join_description, read_expiry,
};
use super::observe::{read_type, read_value};
use super::page::{self, Described, Item, Next, PageError, pack_get, pack_page, pack_stream_end};
use super::reading::Reading;
use super::resp::{Frame, Frames, unexpected};
use super::wire::{Wire, WireError};
use super::{EntrySink, Observed, Pace, PieceCursor, ScanReport, ScanRequest};

/// Names that one SCAN asks for, at the least and at the most.
const NAMES_LEAST: usize = 100;
const NAMES_MOST: usize = 1000;

/// Answers to pages that may be under way, in bytes, as far as the last pages tell.
const BYTES_OUTSTANDING: usize = 4 << 20;

/// How often a key is described again that changed its type meanwhile.
const TYPE_CHANGES: u8 = 3;

/// Where the names come from.
pub(crate) enum Names<'a> {
    /// All names of the database; the SCAN cursor to go on from, nothing once it came round.
    Scan(Option<u64>),
    /// These.
    Listed(std::slice::Iter<'a, Key>),
}

/// A command under way, in the order of the answers.
enum Pending {
    Names,
    Type(Job),
    Expiry,
    Page(Described, u8),
    Get(Described),
    StreamEnd,
}

/// A key to be described, and how often its type had changed.
struct Job {
    key: Bytes,
    changes: u8,
}

/// A scan in progress; it outlives a lost connection.
pub(crate) struct Bulk<'a> {
    request: &'a ScanRequest<'a>,
    pace: &'a dyn Pace,
    sink: &'a mut dyn EntrySink,
    digester: Digester,
    depth: usize,
    names: Names<'a>,
    names_under_way: bool,
    waiting: VecDeque<Job>,
    described: VecDeque<(Described, u8)>,
    /// Strings whose first page was empty: empty, or gone.
    empty: VecDeque<Described>,
    pages_under_way: usize,
    /// Keys that the pace has admitted and that were not asked for yet.
    admitted: u64,
    pending: VecDeque<Pending>,
    /// The key whose TYPE was answered and whose PEXPIRETIME is next.
    half_described: Option<(Job, TypeReply)>,
    /// The stream whose first page was answered and whose end is next; nothing if that page says to read it alone.
    half_read: Option<(Described, Option<Reading>)>,
    large: Vec<Described>,
    page_bytes: usize,
    report: ScanReport,
}

impl<'a> Bulk<'a> {
    /// A scan that has not begun.
    pub(crate) fn new(
        request: &'a ScanRequest<'a>,
        names: Names<'a>,
        depth: usize,
        pace: &'a dyn Pace,
        sink: &'a mut dyn EntrySink,
    ) -> Self {
        Self {
            digester: Digester::new(request.digest_key.clone()),
            request,
            pace,
            sink,
            depth: depth.max(1),
            names,
            names_under_way: false,
            waiting: VecDeque::new(),
            described: VecDeque::new(),
            empty: VecDeque::new(),
            pages_under_way: 0,
            admitted: 0,
            pending: VecDeque::new(),
            half_described: None,
            half_read: None,
            large: Vec::new(),
            page_bytes: 0,
            report: ScanReport::default(),
        }
    }

    /// What was done so far.
    pub(crate) fn report(&self) -> ScanReport {
        self.report
    }

    /// Runs to the end on this connection. After an error, [`Bulk::take_up`] and another connection go on.
    pub(crate) async fn run(&mut self, wire: &mut Wire) -> Result<(), WireError> {
        loop {
            self.refill(wire).await;
            if self.pending.is_empty() {
                break;
            }
            wire.flush().await?;
            let before = wire.received();
            wire.fill().await?;
            while let Some(reply) = wire.try_reply()? {
                self.answer(reply)?;
            }
            self.pace.bytes(wire.received() - before).await;
        }
        self.read_large(wire).await
    }

    /// Puts back what was under way on a connection that is lost.
    pub(crate) fn take_up(&mut self) {
        self.names_under_way = false;
        self.pages_under_way = 0;
        let mut again: Vec<Job> = Vec::new();
        again.extend(self.half_described.take().map(|(job, _)| job));
        again.extend(
            self.half_read
                .take()
                .map(|(described, _)| job_of(&described, 0)),
        );
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Type(job) => again.push(job),
                Pending::Page(described, changes) => again.push(job_of(&described, changes)),
                Pending::Get(described) => self.empty.push_back(described),
                Pending::Names | Pending::Expiry | Pending::StreamEnd => {}
            }
        }
        self.waiting.extend(again);
    }

    /// Packs commands until as many are under way as may be.
    async fn refill(&mut self, wire: &mut Wire) {
        while self.pending.len() < self.depth {
            if self.wants_names() {
                self.ask_names(wire);
            } else if self.may_read_page() {
                self.ask_page(wire);
            } else if let Some(described) = self.empty.pop_front() {
                wire.push_with(|out| pack_get(out, described.key.as_bytes()));
                self.pending.push_back(Pending::Get(described));
            } else if let Some(job) = self.waiting.pop_front() {
                self.admit().await;
                self.ask_description(wire, job);
            } else {
                break;
            }
        }
    }

    /// Waits until the pace admits another key; asked for a few at a time.
    async fn admit(&mut self) {
        if self.admitted == 0 {
            self.admitted = (self.depth as u64 / 3).max(1);
            self.pace.keys(self.admitted).await;
        }
        self.admitted -= 1;
    }

    fn wants_names(&mut self) -> bool {
        if self.names_under_way || self.waiting.len() >= self.depth {
            return false;
        }
        match &mut self.names {
            Names::Scan(cursor) => cursor.is_some(),
            Names::Listed(keys) => {
                let next = keys.next().map(|key| Job {
                    key: key.to_bytes(),
                    changes: 0,
                });
                self.waiting.extend(next);
                false
            }
        }
    }

    fn ask_names(&mut self, wire: &mut Wire) {
        let Names::Scan(Some(cursor)) = self.names else {
            return;
        };
        let cursor = cursor.to_string();
        let count = (10 * self.depth).clamp(NAMES_LEAST, NAMES_MOST).to_string();
        let mut args: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes(), b"COUNT", count.as_bytes()];
        if let Some(pattern) = &self.request.pattern {
            args.extend([b"MATCH", pattern.as_bytes()]);
        }
        wire.push(&args);
        self.names_under_way = true;
        self.pending.push_back(Pending::Names);
    }

    fn may_read_page(&self) -> bool {
        let pages = self.pages_under_way;
        !self.described.is_empty() && (pages == 0 || pages * self.page_bytes < BYTES_OUTSTANDING)
    }

    fn ask_page(&mut self, wire: &mut Wire) {
        let Some((described, changes)) = self.described.pop_front() else {
            return;
        };
        let kind = described.kind;
        wire.push_with(|out| pack_page(out, kind, described.key.as_bytes(), &PieceCursor::Start));
        if kind == Kind::Stream {
            wire.push_with(|out| pack_stream_end(out, described.key.as_bytes()));
        }
        self.pages_under_way += 1;
        self.pending.push_back(Pending::Page(described, changes));
        if kind == Kind::Stream {
            self.pending.push_back(Pending::StreamEnd);
        }
    }

    fn ask_description(&mut self, wire: &mut Wire, job: Job) {
        wire.push(&[b"TYPE", &job.key]);
        wire.push(&[b"PEXPIRETIME", &job.key]);
        self.pending.push_back(Pending::Type(job));
        self.pending.push_back(Pending::Expiry);
    }

    fn answer(&mut self, reply: &[u8]) -> Result<(), WireError> {
        match self.pending.pop_front() {
            Some(Pending::Names) => self.take_names(reply),
            Some(Pending::Type(job)) => {
                self.half_described = Some((job, read_type(reply)?));
                Ok(())
            }
            Some(Pending::Expiry) => self.take_description(reply),
            Some(Pending::Page(described, changes)) => self.take_page(reply, described, changes),
            Some(Pending::Get(described)) => self.take_get(reply, &described),
            Some(Pending::StreamEnd) => self.take_stream_end(reply),
            None => Err(WireError::Lost(
                "an answer that nothing was asked for".into(),
            )),
        }
    }

    fn take_names(&mut self, reply: &[u8]) -> Result<(), WireError> {
        let mut frames = Frames::new(reply);
        match frames.next()? {
            Frame::Array(2) => {}
            Frame::Error(words) => return Err(refusal(words)),
            other => return Err(unexpected("a page of names", &other).into()),
        }
        let cursor = std::str::from_utf8(frames.bytes()?)
            .ok()
            .and_then(|text| text.parse().ok());
        self.names_under_way = false;
        let names = frames.array()?;
        for _ in 0..names {
            let name = frames.bytes()?;
            self.take_name(name);
        }
        let cursor = cursor.ok_or_else(|| WireError::Lost("a cursor that is no number".into()))?;
        self.names = Names::Scan((cursor != 0).then_some(cursor));
        Ok(())
    }

    fn take_name(&mut self, name: &[u8]) {
        self.report.names_seen += 1;
        if name.starts_with(OWN_PREFIX) {
            self.report.markers_seen |= name.starts_with(MARKER_PREFIX);
        } else if (self.request.wanted)(name) {
            self.waiting.push_back(Job {
                key: Bytes::copy_from_slice(name),
                changes: 0,
            });
        }
    }

    fn take_description(&mut self, reply: &[u8]) -> Result<(), WireError> {
        let expiry = read_expiry(reply)?;
        let Some((job, kind)) = self.half_described.take() else {
            return Err(WireError::Lost("an expiry without a type".into()));
        };
        match join_description(Key::new(job.key.clone()), kind, expiry) {
            Description::Absent => {}
            Description::Present(described) => self.described.push_back((described, job.changes)),
            Description::Unreadable(words) => self.sink.unreadable(&job.key, &words),
        }
        Ok(())
    }

    fn take_page(
        &mut self,
        reply: &[u8],
        described: Described,
        changes: u8,
    ) -> Result<(), WireError> {
        self.pages_under_way -= 1;
        self.page_bytes = reply.len().max(self.page_bytes - self.page_bytes / 8);
        let mut reading = Reading::new(&described, false);
        let last = is_last_piece(described.kind, reply);
        let digester = &mut self.digester;
        let next = page::read_page(described.kind, &PieceCursor::Start, reply, |item| {
            reading.take(item, last, digester);
        });
        match next {
            Ok(Next::Done) if described.kind == Kind::Stream => {
                self.half_read = Some((described, Some(reading)));
            }
            Ok(Next::More(_)) if described.kind == Kind::Stream => {
                self.half_read = Some((described, None))
            }
            Ok(Next::Done) => self.emit(&described, reading),
            Ok(Next::More(_)) => self.large.push(described),
            Ok(Next::EmptyOrAbsent) => self.empty.push_back(described),
            Err(PageError::WrongType) => self.describe_again(&described, changes),
            Err(PageError::Refused(words)) if is_passing(&words) => {
                return Err(WireError::Lost(words));
            }
            Err(PageError::Refused(words)) => {
                self.sink.unreadable(described.key.as_bytes(), &words)
            }
            Err(PageError::Malformed(malformed)) => return Err(malformed.into()),
        }
        Ok(())
    }

    fn describe_again(&mut self, described: &Described, changes: u8) {
        if changes < TYPE_CHANGES {
            self.waiting.push_back(job_of(described, changes + 1));
        } else {
            let reason = "its type keeps changing while it is read";
            self.sink.unreadable(described.key.as_bytes(), reason);
        }
    }

    fn take_get(&mut self, reply: &[u8], described: &Described) -> Result<(), WireError> {
        match page::read_get(reply) {
            Ok(Some(bytes)) => {
                let mut reading = Reading::new(described, false);
                reading.take(Item::Bytes(bytes), true, &mut self.digester);
                self.emit(described, reading);
            }
            Ok(None) => {}
            Err(PageError::WrongType) => self.describe_again(described, 0),
            Err(PageError::Refused(words)) => {
                self.sink.unreadable(described.key.as_bytes(), &words)
            }
            Err(PageError::Malformed(malformed)) => return Err(malformed.into()),
        }
        Ok(())
    }

    fn take_stream_end(&mut self, reply: &[u8]) -> Result<(), WireError> {
        let Some((described, reading)) = self.half_read.take() else {
            return Ok(());
        };
        match (page::read_stream_end(reply), reading) {
            (Ok(Some((last_id, groups))), Some(mut reading)) => {
                reading.take_stream_end(last_id, groups);
                self.emit(&described, reading);
            }
            (Ok(Some(_)), None) => self.large.push(described),
            (Ok(None), _) => {}
            (Err(PageError::WrongType), _) => self.describe_again(&described, 0),
            (Err(PageError::Refused(words)), _) => {
                self.sink.unreadable(described.key.as_bytes(), &words)
            }
            (Err(PageError::Malformed(malformed)), _) => return Err(malformed.into()),
        }
        Ok(())
    }

    fn emit(&mut self, described: &Described, mut reading: Reading) {
        if let Some(digest) = reading.digest_of_all(&mut self.digester) {
            self.report.keys_read += 1;
            self.sink.entry(EntryRef {
                position: Position::of(described.key.as_bytes()),
                key: described.key.as_bytes(),
                kind: described.kind,
                digest,
                expiry: described.expiry,
            });
        }
    }

    /// Values that one page could not hold, one after the other, each page a command.
    async fn read_large(&mut self, wire: &mut Wire) -> Result<(), WireError> {
        while let Some(described) = self.large.last().cloned() {
            let read = read_value(wire, &described, false, &mut self.digester).await?;
            self.large.pop();
            match read {
                Read::Value(Observed::Large(large)) => {
                    self.report.keys_read += 1;
                    self.sink.entry(EntryRef {
                        position: Position::of(described.key.as_bytes()),
                        key: described.key.as_bytes(),
                        kind: large.kind,
                        digest: large.digest,
                        expiry: large.expiry,
                    });
                }
                Read::Value(_) => {}
                Read::WrongType => self.sink.unreadable(
                    described.key.as_bytes(),
                    "its type changed while it was read",
                ),
                Read::Unreadable(words) => self.sink.unreadable(described.key.as_bytes(), &words),
            }
        }
        Ok(())
    }
}

fn job_of(described: &Described, changes: u8) -> Job {
    Job {
        key: described.key.to_bytes(),
        changes,
    }
}

fn refusal(words: &[u8]) -> WireError {
    let words = String::from_utf8_lossy(words).into_owned();
    if is_passing(&words) {
        WireError::Lost(words)
    } else {
        WireError::Refused(format!("SCAN: {words}"))
    }
}
