//! The least parts of a record: numbers of variable length, bytes with their length, and their reader.
//!
//! A record begins with its format; numbers are LEB128, signed ones zigzag before; tags are written out here and in
//! `record/`, never taken from the order of an enum.

use bytes::Bytes;

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer version wrote it.
    Format(u8),
    /// It is not what it should be: what is wrong.
    Broken(&'static str),
}

/// A result of reading a part of a record.
pub(super) type Read<T> = Result<T, Unreadable>;

/// The most bytes of a number of 64 bits.
const LONGEST_NUMBER: usize = 10;

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Puts how many follow, and each of them.
pub(super) fn put_all<T>(
    out: &mut Vec<u8>,
    items: impl ExactSizeIterator<Item = T>,
    mut put: impl FnMut(&mut Vec<u8>, T),
) {
    put_number(out, items.len() as u64);
    items.for_each(|item| put(out, item));
}

/// Puts whether there is one, and it.
pub(super) fn put_optional<T>(
    out: &mut Vec<u8>,
    item: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    out.push(u8::from(item.is_some()));
    if let Some(item) = item {
        put(out, item);
    }
}

/// Reads a record from its beginning to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads the leading format.
    pub(super) fn format(&mut self, known: u8) -> Read<()> {
        match self.byte()? {
            0 => Err(Unreadable::Broken("format 0 does not exist")),
            found if found <= known => Ok(()),
            found => Err(Unreadable::Format(found)),
        }
    }

    pub(super) fn byte(&mut self) -> Read<u8> {
        let (&first, rest) = self.rest.split_first().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable::Broken("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn number(&mut self) -> Read<u64> {
        let mut number = 0_u64;
        for index in 0..LONGEST_NUMBER {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if index + 1 == LONGEST_NUMBER && bits > 1 {
                break;
            }
            number |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable::Broken("a number has more than 64 bits"))
    }

    pub(super) fn signed(&mut self) -> Read<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number that counts something which takes at least one byte each in what follows.
    pub(super) fn count(&mut self) -> Read<usize> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.rest.len() {
            return Err(CUT_OFF);
        }
        Ok(count)
    }

    pub(super) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        if count > self.rest.len() {
            return Err(CUT_OFF);
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn slice(&mut self) -> Read<&'a [u8]> {
        let count = self.count()?;
        self.take(count)
    }

    pub(super) fn bytes(&mut self) -> Read<Bytes> {
        self.slice().map(Bytes::copy_from_slice)
    }

    pub(super) fn text(&mut self) -> Read<String> {
        String::from_utf8(self.slice()?.to_vec()).map_err(|_| Unreadable::Broken("not UTF-8"))
    }

    /// As many as it says, collected.
    pub(super) fn all<T, C: FromIterator<T>>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<C> {
        let count = self.count()?;
        (0..count).map(|_| read(self)).collect()
    }

    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<Option<T>> {
        self.flag()?.then(|| read(self)).transpose()
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Makes sure that nothing is left.
    pub(super) fn end(self) -> Read<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Unreadable::Broken("it goes on behind its end"))
        }
    }
}

const CUT_OFF: Unreadable = Unreadable::Broken("it is cut off");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_frozen() {
        let written = |number| {
            let mut out = Vec::new();
            put_number(&mut out, number);
            out
        };
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [0x7f]);
        assert_eq!(written(300), [0xac, 0x02]);
        assert_eq!(written(u64::MAX).len(), LONGEST_NUMBER);
        let mut out = Vec::new();
        put_signed(&mut out, -2);
        assert_eq!(out, [3]);
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        let mut too_long = [0xff; LONGEST_NUMBER];
        too_long[LONGEST_NUMBER - 1] = 0x02;
        let broken = Err(Unreadable::Broken("a number has more than 64 bits"));
        assert_eq!(Reader::new(&too_long).number(), broken);
        assert_eq!(Reader::new(&[0x80]).number(), Err(CUT_OFF));
    }

    #[test]
    fn a_count_beyond_the_record_is_refused_before_anything_is_reserved() {
        let mut out = Vec::new();
        put_number(&mut out, u64::MAX);
        assert_eq!(Reader::new(&out).bytes(), Err(CUT_OFF));
        let all: Read<Vec<u8>> = Reader::new(&out).all(Reader::byte);
        assert_eq!(all, Err(CUT_OFF));
    }

    #[test]
    fn a_newer_format_is_told_from_a_broken_one() {
        assert_eq!(Reader::new(&[2]).format(1), Err(Unreadable::Format(2)));
        assert!(matches!(
            Reader::new(&[0]).format(1),
            Err(Unreadable::Broken(_))
        ));
        assert_eq!(Reader::new(&[1]).format(1), Ok(()));
    }

    proptest! {
        #[test]
        fn numbers_come_back(number: u64, signed: i64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            put_signed(&mut out, signed);
            put_bytes(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.slice(), Ok(&bytes[..]));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
