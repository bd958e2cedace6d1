//! What a write did to the stamps beside a key, as the journal keeps it.

use bytes::Bytes;

use crate::model::{Counts, Restamping, Stamp, Stamped, Stamps};

use super::super::codec::{Read, Reader, put_all, put_bytes, put_optional, put_signed};
use super::Record;
use super::memory::{put_score, read_score};

impl Record for Restamping {
    fn put(&self, out: &mut Vec<u8>) {
        put_stamps(out, &self.before);
        put_stamps(out, &self.wrote);
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            before: read_stamps(reader)?,
            wrote: read_stamps(reader)?,
        })
    }
}

fn put_stamps(out: &mut Vec<u8>, stamps: &Stamps) {
    put_stamped(out, stamps.key);
    put_all(out, stamps.elements.iter(), |out, (name, stamped)| {
        put_bytes(out, name);
        put_stamped(out, *stamped);
    });
    put_optional(out, stamps.counts.as_ref(), put_counts);
}

fn read_stamps(reader: &mut Reader<'_>) -> Read<Stamps> {
    Ok(Stamps {
        key: read_stamped(reader)?,
        elements: reader.all(|reader| Ok((reader.bytes()?, read_stamped(reader)?)))?,
        counts: reader.optional(read_counts)?,
    })
}

fn put_stamped(out: &mut Vec<u8>, stamped: Stamped) {
    put_optional(out, stamped.added, put_stamp);
    put_optional(out, stamped.removed, put_stamp);
}

fn read_stamped(reader: &mut Reader<'_>) -> Read<Stamped> {
    Ok(Stamped {
        added: reader.optional(read_stamp)?,
        removed: reader.optional(read_stamp)?,
    })
}

fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    put_score(out, stamp.0);
}

fn read_stamp(reader: &mut Reader<'_>) -> Read<Stamp> {
    read_score(reader).map(Stamp)
}

fn put_counts(out: &mut Vec<u8>, counts: &Counts) {
    put_optional(out, counts.since, put_stamp);
    put_optional(out, counts.base, put_signed);
    put_all(out, counts.parts.iter(), |out, (name, part)| {
        put_bytes(out, name);
        put_signed(out, *part);
    });
}

fn read_counts(reader: &mut Reader<'_>) -> Read<Counts> {
    Ok(Counts {
        since: reader.optional(read_stamp)?,
        base: reader.optional(Reader::signed)?,
        parts: reader.all(|reader| Ok::<(Bytes, i64), _>((reader.bytes()?, reader.signed()?)))?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{frozen, journalled};
    use super::*;
    use crate::state::{JournalEntry, Post, PreImage};

    #[test]
    fn stamps_in_the_journal_are_frozen_and_may_be_missing() {
        let at = |millis| Some(Stamp::millis(millis));
        let stamped = |added, removed| Stamped { added, removed };
        let entry = JournalEntry {
            stamps: Some(Box::new(Restamping {
                before: Stamps {
                    key: stamped(at(1), None),
                    elements: [("m".into(), stamped(None, at(2)))].into(),
                    counts: None,
                },
                wrote: Stamps {
                    counts: Some(Counts {
                        since: at(1),
                        base: Some(-1),
                        parts: [("+a".into(), 2)].into(),
                    }),
                    ..Stamps::default()
                },
            })),
            ..journalled(PreImage::Absent, Post::Absent)
        };
        let (one, two) = ("3f f0 00 00 00 00 00 00", "40 00 00 00 00 00 00 00");
        let before = format!("01 {one} 00 01 01 6d 00 01 {two} 00");
        let wrote = format!("00 00 00 01 01 {one} 01 01 01 02 2b 61 04");
        let seven = "07".repeat(8);
        let head = format!("01 01 02 {seven} 00 01 6b 01 72 01 65 00 00 00");
        frozen(&entry, &format!("{head} 07 {before} {wrote} 00"));
    }
}
