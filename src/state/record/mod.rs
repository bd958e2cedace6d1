//! Records as they stand on disk, one file per noun.
//!
//! Every record begins with its format. The formats are frozen by vectors in `tests.rs`: a change needs a new number
//! and a reader for the old one.

mod agreement;
#[cfg(test)]
pub(super) mod arbitrary;
mod book;
mod intent;
mod journal;
mod memory;
mod stamps;
#[cfg(test)]
mod tests;
mod value;

pub(super) use agreement::{Head, Standing, ended, put_ended, standing};
pub(super) use journal::{JournalSize, outcome, put_outcome};

use super::codec::{Read, Reader, put_number};

/// The format that all records are written in.
pub(super) const FORMAT: u8 = 1;

/// A noun that has a record of its own.
pub(super) trait Record: Sized {
    /// Writes all but the format.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads what [`Record::put`] wrote.
    fn read(reader: &mut Reader<'_>) -> Read<Self>;

    /// The record.
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        self.put(&mut out);
        out
    }

    /// Reads a record, all of it.
    fn decode(bytes: &[u8]) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        reader.format(FORMAT)?;
        let record = Self::read(&mut reader)?;
        reader.end()?;
        Ok(record)
    }
}

/// A record that is one number.
pub(super) fn put_counter(number: u64) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put_number(&mut out, number);
    out
}

pub(super) fn counter(bytes: &[u8]) -> Read<u64> {
    let mut reader = Reader::new(bytes);
    reader.format(FORMAT)?;
    let number = reader.number()?;
    reader.end()?;
    Ok(number)
}
