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

use crate::model::{
    Digester, EntryRef, Key, Kind, MARKER_PREFIX, OWN_PREFIX, Position, Shape, ValueDigest,
};

use super::observe::{
    Read, TypeReply, is_last_piece, is_passing, read_expiry, read_type, read_value,
};
use super::page::{self, Described, FirstPages, Item, Next, PageError};
use super::page::{pack_description, pack_get, pack_stream_end};
use super::reading::{Reading, element_of};
use super::resp::{Frame, Frames, unexpected};
use super::slots::{SlotIndex, Slots};
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
#[derive(Clone, Copy)]
enum Pending {
    Names,
    Type(SlotIndex),
    Expiry,
    Page(SlotIndex),
    Get(SlotIndex),
    StreamEnd,
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
    slots: Slots,
    first_pages: FirstPages,
    /// Keys of which the name alone is known.
    waiting: VecDeque<SlotIndex>,
    described: VecDeque<SlotIndex>,
    /// Strings whose first page was empty: empty, or gone.
    empty: VecDeque<SlotIndex>,
    pages_under_way: usize,
    /// Keys that the pace has admitted and that were not asked for yet.
    admitted: u64,
    pending: VecDeque<Pending>,
    /// The key whose TYPE was answered and whose PEXPIRETIME is next.
    half_described: Option<(SlotIndex, TypeReply)>,
    /// The stream whose first page was answered and whose end is next; nothing if that page says to read it alone.
    half_read: Option<(SlotIndex, Option<Reading>)>,
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
            slots: Slots::default(),
            first_pages: FirstPages::new(),
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
        let halves = [
            self.half_described.take().map(|(slot, _)| slot),
            self.half_read.take().map(|(slot, _)| slot),
        ];
        self.waiting.extend(halves.into_iter().flatten());
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Type(slot) | Pending::Page(slot) => self.waiting.push_back(slot),
                Pending::Get(slot) => self.empty.push_back(slot),
                Pending::Names | Pending::Expiry | Pending::StreamEnd => {}
            }
        }
    }

    /// Packs commands until as many are under way as may be.
    async fn refill(&mut self, wire: &mut Wire) {
        while self.pending.len() < self.depth {
            if self.wants_names() {
                self.ask_names(wire);
            } else if self.may_read_page() {
                self.ask_page(wire);
            } else if let Some(slot) = self.empty.pop_front() {
                wire.push_with(|out| pack_get(out, self.slots.get(slot).key()));
                self.pending.push_back(Pending::Get(slot));
            } else if let Some(slot) = self.waiting.pop_front() {
                self.admit().await;
                self.ask_description(wire, slot);
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
                let wanted = |key: &&Key| (self.request.wanted)(key.as_bytes());
                let next = keys.find(wanted);
                let next = next.map(|key| self.slots.take(key.as_bytes()));
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
        let Some(slot) = self.described.pop_front() else {
            return;
        };
        let asked = self.slots.get(slot);
        wire.push_with(|out| self.first_pages.pack(out, asked.kind, &asked.argument));
        self.pages_under_way += 1;
        self.pending.push_back(Pending::Page(slot));
        if asked.kind == Kind::Stream {
            wire.push_with(|out| pack_stream_end(out, asked.key()));
            self.pending.push_back(Pending::StreamEnd);
        }
    }

    fn ask_description(&mut self, wire: &mut Wire, slot: SlotIndex) {
        wire.push_two_with(|out| pack_description(out, &self.slots.get(slot).argument));
        self.pending.push_back(Pending::Type(slot));
        self.pending.push_back(Pending::Expiry);
    }

    fn answer(&mut self, reply: &[u8]) -> Result<(), WireError> {
        match self.pending.pop_front() {
            Some(Pending::Names) => self.take_names(reply),
            Some(Pending::Type(slot)) => self.take_type(reply, slot),
            Some(Pending::Expiry) => self.take_description(reply),
            Some(Pending::Page(slot)) => self.take_page(reply, slot),
            Some(Pending::Get(slot)) => self.take_get(reply, slot),
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
            self.waiting.push_back(self.slots.take(name));
        }
    }

    fn take_type(&mut self, reply: &[u8], slot: SlotIndex) -> Result<(), WireError> {
        match read_type(reply) {
            Ok(kind) => self.half_described = Some((slot, kind)),
            Err(error) => {
                self.waiting.push_back(slot);
                return Err(error);
            }
        }
        Ok(())
    }

    fn take_description(&mut self, reply: &[u8]) -> Result<(), WireError> {
        let expiry = read_expiry(reply)?;
        let Some((slot, kind)) = self.half_described.take() else {
            return Err(WireError::Lost("an expiry without a type".into()));
        };
        match (kind, expiry) {
            (Err(words), _) | (_, Err(words)) => self.give_up(slot, &words),
            (Ok(None), _) | (_, Ok(None)) => self.slots.give_back(slot),
            (Ok(Some((kind, type_name))), Ok(Some(expiry))) => {
                let described = self.slots.get_mut(slot);
                described.kind = kind;
                described.type_name = type_name;
                described.expiry = expiry;
                self.described.push_back(slot);
            }
        }
        Ok(())
    }

    fn take_page(&mut self, reply: &[u8], slot: SlotIndex) -> Result<(), WireError> {
        self.pages_under_way -= 1;
        self.page_bytes = reply.len().max(self.page_bytes - self.page_bytes / 8);
        match self.slots.get(slot).kind {
            Kind::Hash => self.take_collection(Shape::Hash, reply, slot),
            Kind::Set => self.take_collection(Shape::Set, reply, slot),
            Kind::SortedSet => self.take_collection(Shape::SortedSet, reply, slot),
            Kind::String | Kind::List | Kind::Stream | Kind::Module => self.take_other(reply, slot),
        }
    }

    /// The page of a collection: nearly always all of it, so that its digest is all there is to do.
    fn take_collection(
        &mut self,
        shape: Shape,
        reply: &[u8],
        slot: SlotIndex,
    ) -> Result<(), WireError> {
        let kind = self.slots.get(slot).kind;
        let digester = &mut self.digester;
        let mut elements = digester.elements(shape);
        let next = page::read_page(kind, &PieceCursor::Start, reply, |item| {
            if let Some(element) = element_of(&item) {
                digester.add(&mut elements, &element);
            }
        });
        match next {
            Ok(Next::Done) if elements.is_empty() => self.slots.give_back(slot),
            Ok(Next::Done) => {
                let digest = self.digester.finish(elements);
                self.emit(slot, digest);
            }
            Ok(Next::More(_) | Next::EmptyOrAbsent) => self.put_off(slot),
            Err(error) => return self.take_error(error, slot),
        }
        Ok(())
    }

    fn take_other(&mut self, reply: &[u8], slot: SlotIndex) -> Result<(), WireError> {
        let (kind, mut reading) = self.begin_reading(slot);
        let last = is_last_piece(kind, reply);
        let digester = &mut self.digester;
        let next = page::read_page(kind, &PieceCursor::Start, reply, |item| {
            reading.take(item, last, digester);
        });
        match next {
            Ok(Next::Done) if kind == Kind::Stream => self.half_read = Some((slot, Some(reading))),
            Ok(Next::More(_)) if kind == Kind::Stream => self.half_read = Some((slot, None)),
            Ok(Next::Done) => self.end_reading(slot, reading),
            Ok(Next::More(_)) => self.put_off(slot),
            Ok(Next::EmptyOrAbsent) => self.empty.push_back(slot),
            Err(error) => return self.take_error(error, slot),
        }
        Ok(())
    }

    fn begin_reading(&self, slot: SlotIndex) -> (Kind, Reading) {
        let slot = self.slots.get(slot);
        let reading = Reading::digesting(slot.kind, &slot.type_name, slot.expiry);
        (slot.kind, reading)
    }

    fn take_get(&mut self, reply: &[u8], slot: SlotIndex) -> Result<(), WireError> {
        match page::read_get(reply) {
            Ok(Some(bytes)) => {
                let (_, mut reading) = self.begin_reading(slot);
                reading.take(Item::Bytes(bytes), true, &mut self.digester);
                self.end_reading(slot, reading);
            }
            Ok(None) => self.slots.give_back(slot),
            Err(error) => return self.take_error(error, slot),
        }
        Ok(())
    }

    fn take_stream_end(&mut self, reply: &[u8]) -> Result<(), WireError> {
        let Some((slot, reading)) = self.half_read.take() else {
            return Ok(());
        };
        match (page::read_stream_end(reply), reading) {
            (Ok(Some((last_id, groups))), Some(mut reading)) => {
                reading.take_stream_end(last_id, groups);
                self.end_reading(slot, reading);
            }
            (Ok(Some(_)), None) => self.put_off(slot),
            (Ok(None), _) => self.slots.give_back(slot),
            (Err(error), _) => return self.take_error(error, slot),
        }
        Ok(())
    }

    /// A value that could not be read: another type by now, or none that may be read.
    fn take_error(&mut self, error: PageError, slot: SlotIndex) -> Result<(), WireError> {
        match error {
            PageError::WrongType if self.slots.get(slot).changes < TYPE_CHANGES => {
                self.slots.get_mut(slot).changes += 1;
                self.waiting.push_back(slot);
            }
            PageError::WrongType => {
                self.give_up(slot, "its type keeps changing while it is read");
            }
            PageError::Refused(words) if is_passing(&words) => {
                self.waiting.push_back(slot);
                return Err(WireError::Lost(words));
            }
            PageError::Refused(words) => self.give_up(slot, &words),
            PageError::Malformed(malformed) => return Err(malformed.into()),
        }
        Ok(())
    }

    fn give_up(&mut self, slot: SlotIndex, reason: &str) {
        self.sink.unreadable(self.slots.get(slot).key(), reason);
        self.slots.give_back(slot);
    }

    fn put_off(&mut self, slot: SlotIndex) {
        self.large.push(self.slots.get(slot).to_described());
        self.slots.give_back(slot);
    }

    fn end_reading(&mut self, slot: SlotIndex, mut reading: Reading) {
        match reading.digest_of_all(&mut self.digester) {
            Some(digest) => self.emit(slot, digest),
            None => self.slots.give_back(slot),
        }
    }

    fn emit(&mut self, slot: SlotIndex, digest: ValueDigest) {
        let read = self.slots.get(slot);
        self.report.keys_read += 1;
        self.sink.entry(EntryRef {
            position: Position::of(read.key()),
            key: read.key(),
            kind: read.kind,
            digest,
            expiry: read.expiry,
        });
        self.slots.give_back(slot);
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

fn refusal(words: &[u8]) -> WireError {
    let words = String::from_utf8_lossy(words).into_owned();
    if is_passing(&words) {
        WireError::Lost(words)
    } else {
        WireError::Refused(format!("SCAN: {words}"))
    }
}
