//! What the bulk reader makes of the answers that come in.

use crate::model::{EntryRef, Kind, MARKER_PREFIX, OWN_PREFIX, Position, Shape, ValueDigest};
use crate::store::Capability::StreamFull;
use crate::store::PieceCursor;
use crate::store::expiries::{Ends, MOMENTS};
use crate::store::fields::{names_of, read_fields};
use crate::store::observe::{is_elsewhere, is_last_piece, is_passing, read_type};
use crate::store::page::{self, Item, Next, PageError};
use crate::store::reading::{Reading, element_of};
use crate::store::resp::{Frame, Frames, unexpected};
use crate::store::slots::SlotIndex;
use crate::store::stream_end::read_stream_end;
use crate::store::wire::WireError;

use super::{Bulk, Names, Pending};

/// How often a key is described again that changed its type meanwhile.
const TYPE_CHANGES: u8 = 3;

impl Bulk<'_> {
    /// Takes the next answer in.
    pub(super) fn answer(&mut self, reply: &[u8]) -> Result<(), WireError> {
        match self.pending.pop_front() {
            Some(Pending::Names) => self.take_names(reply),
            Some(Pending::Type(slot)) => self.take_type(reply, slot),
            Some(Pending::Expiry) => self.take_description(reply),
            Some(Pending::Page(slot)) => self.take_page(reply, slot),
            Some(Pending::Ends(slot)) => self.take_ends(reply, slot),
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
        let Some(ends) = self.when.take(reply, self.can)? else {
            return Ok(());
        };
        let Some((slot, kind)) = self.half_described.take() else {
            return Err(WireError::Lost("an expiry without a type".into()));
        };
        if matches!(ends, Ends::About(_)) && self.slots.get(slot).moments < MOMENTS {
            self.slots.get_mut(slot).moments += 1;
            self.waiting.push_back(slot);
            return Ok(());
        }
        match (kind, ends.into_reply()) {
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
            Kind::Hash if self.fields_end => self.take_fields(reply, slot),
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

    /// The page of a hash whose fields may end: nearly always all of them, so that when is all there is to ask.
    fn take_fields(&mut self, reply: &[u8], slot: SlotIndex) -> Result<(), WireError> {
        match names_of(reply) {
            Ok((names, Next::Done)) if names.is_empty() => self.slots.give_back(slot),
            Ok((_, Next::Done)) => {
                self.slots.get_mut(slot).page.extend_from_slice(reply);
                self.ending.push_back(slot);
            }
            Ok(_) => self.put_off(slot),
            Err(error) => return self.take_error(error, slot),
        }
        Ok(())
    }

    fn take_ends(&mut self, reply: &[u8], slot: SlotIndex) -> Result<(), WireError> {
        let digester = &mut self.digester;
        let mut elements = digester.elements(Shape::Hash);
        let page = std::mem::take(&mut self.slots.get_mut(slot).page);
        let read = read_fields(&page, reply, |item| {
            if let Some(element) = element_of(&item) {
                digester.add(&mut elements, &element);
            }
        });
        match read {
            Ok(_) if elements.is_empty() => self.slots.give_back(slot),
            Ok(_) => {
                let digest = self.digester.finish(elements);
                self.emit(slot, digest);
            }
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
        let (first, second) = match self.half_end.take() {
            None if self.can.has(StreamFull) => (reply.to_vec(), None),
            None => {
                self.half_end = Some(reply.to_vec());
                return Ok(());
            }
            Some(first) => (first, Some(reply)),
        };
        let Some((slot, reading)) = self.half_read.take() else {
            return Ok(());
        };
        match (read_stream_end(&first, second), reading) {
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
            PageError::Refused(words) if is_passing(&words) && !is_elsewhere(&words) => {
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
}

fn refusal(words: &[u8]) -> WireError {
    let words = String::from_utf8_lossy(words).into_owned();
    if is_passing(&words) {
        WireError::Lost(words)
    } else {
        WireError::Refused(format!("SCAN: {words}"))
    }
}
