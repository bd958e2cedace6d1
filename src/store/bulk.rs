//! The bulk reader: SCAN, TYPE, the end and the first page of every value, overlapped in one pipeline.
//!
//! ```text
//!  SCAN ──▶ waiting ──TYPE, PEXPIRETIME──▶ described ──first page──▶ sink
//!                                              └── larger than a page ──▶ large, read at the end
//! ```
//!
//! Never more than `depth` commands are under way, because a client of the same server waits as long as the pipeline
//! that it meets; nor more than a bounded number of bytes, because answers left unread fill the server's memory.

mod answers;

use std::collections::VecDeque;

use crate::model::{Digester, EntryRef, Key, Kind, Position};

use super::Capability::FieldExpiry;
use super::capabilities::Capabilities;
use super::expiries::{self, When};
use super::fields::{names_of, pack_ends};
use super::observe::{Read, TypeReply, read_value};
use super::page::{Described, FirstPages, pack_description, pack_get};
use super::reading::Reading;
use super::slots::{SlotIndex, Slots};
use super::stream_end::{self, pack_stream_end};
use super::wire::{Wire, WireError};
use super::{EntrySink, Observed, Pace, ScanReport, ScanRequest, server_info};

/// Names that one SCAN asks for, at the least and at the most.
const NAMES_LEAST: usize = 100;
const NAMES_MOST: usize = 1000;

/// Answers to pages that may be under way, in bytes, as far as the last pages tell.
const BYTES_OUTSTANDING: usize = 4 << 20;

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
    /// One of the answers by which a key's end is told.
    Expiry,
    Page(SlotIndex),
    /// When the fields of its hash end.
    Ends(SlotIndex),
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
    /// Hashes of which all fields came, but for when they end.
    ending: VecDeque<SlotIndex>,
    /// Whether hash fields may end here.
    fields_end: bool,
    /// Strings whose first page was empty: empty, or gone.
    empty: VecDeque<SlotIndex>,
    pages_under_way: usize,
    /// Keys that the pace has admitted and that were not asked for yet.
    admitted: u64,
    pending: VecDeque<Pending>,
    /// The key whose TYPE was answered and whose end is next.
    half_described: Option<(SlotIndex, TypeReply)>,
    /// The answers about its end, so far.
    when: When,
    /// What the server of this connection can do.
    can: Capabilities,
    /// The stream whose first page was answered and whose end is next; nothing if that page says to read it alone.
    half_read: Option<(SlotIndex, Option<Reading>)>,
    /// The first of two answers about its end.
    half_end: Option<Vec<u8>>,
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
            ending: VecDeque::new(),
            fields_end: true,
            empty: VecDeque::new(),
            pages_under_way: 0,
            admitted: 0,
            pending: VecDeque::new(),
            half_described: None,
            when: When::default(),
            can: Capabilities::ALL,
            half_read: None,
            half_end: None,
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
        self.can = wire.can;
        self.fields_end = self.can.has(FieldExpiry);
        if self.fields_end && matches!(self.names, Names::Scan(_)) {
            // Some servers count them; others have to be asked of each hash.
            self.fields_end = server_info::hashes_with_ending_fields(wire).await? != Some(0);
        }
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
        (self.when, self.half_end) = (When::default(), None);
        let halves = [
            self.half_described.take().map(|(slot, _)| slot),
            self.half_read.take().map(|(slot, _)| slot),
        ];
        self.waiting.extend(halves.into_iter().flatten());
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Type(slot) | Pending::Page(slot) => self.waiting.push_back(slot),
                Pending::Ends(slot) => self.ending.push_back(slot),
                Pending::Get(slot) => self.empty.push_back(slot),
                Pending::Names | Pending::Expiry | Pending::StreamEnd => {}
            }
        }
    }

    /// Lists all names anew, on a server that may hold others.
    pub(crate) fn begin_again(&mut self) {
        if let Names::Scan(cursor) = &mut self.names {
            *cursor = Some(0);
        }
    }

    /// Packs commands until as many are under way as may be.
    async fn refill(&mut self, wire: &mut Wire) {
        while self.pending.len() < self.depth {
            if self.wants_names() {
                self.ask_names(wire);
            } else if self.may_read_page() {
                self.ask_page(wire);
            } else if let Some(slot) = self.ending.pop_front() {
                self.ask_ends(wire, slot);
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
            let (can, answers) = (self.can, stream_end::commands(self.can));
            wire.push_some_with(answers, |out| pack_stream_end(out, asked.key(), can));
            self.pending
                .extend(std::iter::repeat_n(Pending::StreamEnd, answers));
        }
    }

    fn ask_ends(&mut self, wire: &mut Wire, slot: SlotIndex) {
        let asked = self.slots.get(slot);
        let names = names_of(&asked.page).map(|(names, _)| names);
        let names = names.unwrap_or_default();
        wire.push_with(|out| pack_ends(out, asked.key(), names.into_iter()));
        self.pending.push_back(Pending::Ends(slot));
    }

    fn ask_description(&mut self, wire: &mut Wire, slot: SlotIndex) {
        let (can, answers) = (self.can, expiries::commands(self.can));
        let argument = &self.slots.get(slot).argument;
        wire.push_some_with(1 + answers, |out| pack_description(out, argument, can));
        self.pending.push_back(Pending::Type(slot));
        self.pending
            .extend(std::iter::repeat_n(Pending::Expiry, answers));
    }

    /// Values that one page could not hold, one after the other, each page a command.
    async fn read_large(&mut self, wire: &mut Wire) -> Result<(), WireError> {
        while let Some(described) = self.large.last().cloned() {
            let before = wire.received();
            let read = read_value(wire, &described, false, &mut self.digester).await?;
            self.large.pop();
            self.pace.bytes(wire.received() - before).await;
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
