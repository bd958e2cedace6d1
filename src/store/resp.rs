//! RESP2 replies, decoded by borrowing from the read buffer.
//!
//! Two steps, both linear: [`Progress`] finds where a reply ends, resuming where it stopped when more bytes come;
//! [`Frames`] then walks the complete reply without copying a byte. RESP3 is not spoken.

/// Bytes that are not RESP2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not RESP2: {0}")]
pub(crate) struct Malformed(pub String);

/// One element of a reply. An array is followed by its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// `+OK`
    Simple(&'a [u8]),
    /// `-ERR ...`, without the dash.
    Error(&'a [u8]),
    /// `:1`
    Int(i64),
    /// `$3 foo`
    Bulk(&'a [u8]),
    /// `$-1` or `*-1`
    Nil,
    /// `*3`; its elements follow.
    Array(usize),
}

/// How far the search for the end of a reply has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    at: usize,
    pending: u64,
}

impl Progress {
    /// At the beginning of a reply.
    pub(crate) const START: Self = Self { at: 0, pending: 1 };

    /// Goes on as far as the bytes reach. The bytes seen before must still stand at the front of `buffer`.
    ///
    /// Answers the reply's length once it is complete.
    ///
    /// # Cost
    /// Every byte is looked at once over all calls, payloads are skipped.
    ///
    /// # Errors
    /// When the bytes are not RESP2.
    pub(crate) fn advance(&mut self, buffer: &[u8]) -> Result<Option<usize>, Malformed> {
        while self.pending > 0 {
            let (end, children) = match short_head(buffer, self.at, b'$') {
                Some((length, start)) => (start + length + 2, 0),
                None => match element_end(buffer, self.at)? {
                    Some(found) => found,
                    None => return Ok(None),
                },
            };
            if end > buffer.len() {
                return Ok(None);
            }
            self.at = end;
            self.pending = self.pending - 1 + children;
        }
        Ok(Some(self.at))
    }
}

/// The number in the head of a bulk string (`$`) or array (`*`) and where the head ends, if one with a number below
/// 1000 begins here: nearly all elements are such. Nothing says that it is another, that its head has not come whole,
/// or that it is not RESP2.
#[inline]
fn short_head(buffer: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = buffer.get(at..)?;
    let digit = |byte: u8| byte.wrapping_sub(b'0');
    match *rest {
        [found, ones, b'\r', b'\n', ..] if found == kind && digit(ones) <= 9 => {
            Some((usize::from(digit(ones)), at + 4))
        }
        [found, tens, ones, b'\r', b'\n', ..]
            if found == kind && digit(tens) <= 9 && digit(ones) <= 9 =>
        {
            let number = u16::from(digit(tens)) * 10 + u16::from(digit(ones));
            Some((usize::from(number), at + 5))
        }
        [found, a, b, c, b'\r', b'\n', ..]
            if found == kind && [a, b, c].iter().all(u8::is_ascii_digit) =>
        {
            let tens = u16::from(digit(a)) * 10 + u16::from(digit(b));
            Some((usize::from(tens * 10 + u16::from(digit(c))), at + 6))
        }
        _ => None,
    }
}

/// Where an element ends, which may be beyond the buffer, and how many elements follow that belong to it.
fn element_end(buffer: &[u8], at: usize) -> Result<Option<(usize, u64)>, Malformed> {
    if let Some((length, after_line)) = short_head(buffer, at, b'*') {
        return Ok(Some((after_line, length as u64)));
    }
    let Some((head, after_line)) = head(buffer, at)? else {
        return Ok(None);
    };
    Ok(Some(match head {
        Head::Line | Head::Int(_) | Head::Nil => (after_line, 0),
        Head::Bulk(length) => (after_line + length + 2, 0),
        Head::Array(length) => (after_line, length as u64),
    }))
}

enum Head {
    Line,
    Int(i64),
    Nil,
    Bulk(usize),
    Array(usize),
}

/// No reply announces more than this: a bulk is at most 512 MB, an array at most 2^32 elements.
const LENGTH_LIMIT: i64 = 1 << 32;

#[inline]
fn head(buffer: &[u8], at: usize) -> Result<Option<(Head, usize)>, Malformed> {
    let Some((&kind, rest)) = buffer.get(at..).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    let (number, line) = match kind {
        b'+' | b'-' => {
            return Ok(line_end(rest).map(|end| (Head::Line, at + 1 + end + 2)));
        }
        b'$' | b'*' | b':' => match number_line(rest)? {
            Some(found) => found,
            None => return Ok(None),
        },
        other => {
            return Err(Malformed(format!(
                "a reply that begins with byte {other:#04x}"
            )));
        }
    };
    let head = match (kind, number) {
        (b':', number) => Head::Int(number),
        (_, -1) => Head::Nil,
        (b'$', length @ 0..=LENGTH_LIMIT) => Head::Bulk(length as usize),
        (_, length @ 0..=LENGTH_LIMIT) => Head::Array(length as usize),
        (_, length) => return Err(Malformed(format!("a length of {length}"))),
    };
    Ok(Some((head, at + 1 + line)))
}

/// So many digits fit an `i64` whatever they are.
const SAFE_DIGITS: usize = 18;

/// The number that a line holds and the line's length with its CRLF, once it is there in full.
#[inline]
fn number_line(line: &[u8]) -> Result<Option<(i64, usize)>, Malformed> {
    let sign = usize::from(line.first() == Some(&b'-'));
    let mut number = 0_i64;
    for (index, &byte) in line.iter().enumerate().skip(sign).take(SAFE_DIGITS) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number = number * 10 + i64::from(digit);
        } else if byte == b'\r' && index > sign && line.get(index + 1) == Some(&b'\n') {
            return Ok(Some((if sign == 1 { -number } else { number }, index + 2)));
        } else {
            break;
        }
    }
    unusual_number_line(line)
}

/// The same for what is long, incomplete or wrong.
#[cold]
fn unusual_number_line(line: &[u8]) -> Result<Option<(i64, usize)>, Malformed> {
    match line_end(line) {
        Some(end) => Ok(Some((int(&line[..end])?, end + 2))),
        None => Ok(None),
    }
}

/// Where the line's CRLF begins.
fn line_end(line: &[u8]) -> Option<usize> {
    let mut searched = 0;
    loop {
        let found = searched + line[searched..].iter().position(|&byte| byte == b'\r')?;
        match line.get(found + 1) {
            Some(b'\n') => return Some(found),
            Some(_) => searched = found + 1,
            None => return None,
        }
    }
}

fn int(line: &[u8]) -> Result<i64, Malformed> {
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let bad = || {
        Malformed(format!(
            "`{}` where a number belongs",
            super::super::model::escape(line)
        ))
    };
    if digits.is_empty() {
        return Err(bad());
    }
    let mut number = 0_i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(bad());
        }
        // Counted downwards: i64::MIN has no positive counterpart.
        number = number
            .checked_mul(10)
            .and_then(|tens| tens.checked_sub(i64::from(digit - b'0')))
            .ok_or_else(bad)?;
    }
    if negative {
        Ok(number)
    } else {
        number.checked_neg().ok_or_else(bad)
    }
}

/// The first element of a complete reply, which nearly always is one line: its end need not be searched.
///
/// # Errors
/// When it is not RESP2.
#[inline]
pub(crate) fn first(reply: &[u8]) -> Result<Frame<'_>, Malformed> {
    match reply {
        [b'+', line @ .., b'\r', b'\n'] => Ok(Frame::Simple(line)),
        [b':', line @ .., b'\r', b'\n'] => Ok(Frame::Int(int(line)?)),
        _ => Frames::new(reply).next(),
    }
}

/// A walk over the elements of a complete reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames<'a> {
    buffer: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// A walk over a reply whose end [`Progress`] has found.
    pub(crate) fn new(buffer: &'a [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// The next element.
    ///
    /// # Errors
    /// When there is none, or it is not RESP2.
    pub(crate) fn next(&mut self) -> Result<Frame<'a>, Malformed> {
        let ended = || Malformed("a reply that ends early".into());
        let kind = *self.buffer.get(self.at).ok_or_else(ended)?;
        let (head, after_line) = head(self.buffer, self.at)?.ok_or_else(ended)?;
        let line = &self.buffer[self.at + 1..after_line - 2];
        self.at = after_line;
        Ok(match head {
            Head::Line if kind == b'+' => Frame::Simple(line),
            Head::Line => Frame::Error(line),
            Head::Int(number) => Frame::Int(number),
            Head::Nil => Frame::Nil,
            Head::Array(length) => Frame::Array(length),
            Head::Bulk(length) => {
                self.at = after_line + length + 2;
                Frame::Bulk(
                    self.buffer
                        .get(after_line..after_line + length)
                        .ok_or_else(ended)?,
                )
            }
        })
    }

    /// The next element, which must be a string.
    ///
    /// # Errors
    /// When it is something else.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        if let Some((length, start)) = short_head(self.buffer, self.at, b'$')
            && let Some(bytes) = self.buffer.get(start..start + length)
        {
            self.at = start + length + 2;
            return Ok(bytes);
        }
        self.unusual_bytes()
    }

    /// The same for what is long, no bulk string, or wrong.
    #[cold]
    #[inline(never)]
    fn unusual_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Frame::Bulk(bytes) | Frame::Simple(bytes) => Ok(bytes),
            other => Err(unexpected("a string", &other)),
        }
    }

    /// The next element, which must be an array: its length.
    ///
    /// # Errors
    /// When it is something else.
    #[inline]
    pub(crate) fn array(&mut self) -> Result<usize, Malformed> {
        if let Some((length, after_line)) = short_head(self.buffer, self.at, b'*') {
            self.at = after_line;
            return Ok(length);
        }
        match self.next()? {
            Frame::Array(length) => Ok(length),
            other => Err(unexpected("an array", &other)),
        }
    }

    /// The next element with everything in it, as it stands in the reply.
    ///
    /// # Errors
    /// As [`Frames::skip`].
    pub(crate) fn take(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.at;
        self.skip()?;
        Ok(&self.buffer[start..self.at])
    }

    /// Skips the next element with everything in it.
    ///
    /// # Errors
    /// When there is none, or it is not RESP2.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let mut pending = 1_u64;
        while pending > 0 {
            pending -= 1;
            if let Frame::Array(length) = self.next()? {
                pending += length as u64;
            }
        }
        Ok(())
    }
}

/// An element of another kind than the command answers.
pub(crate) fn unexpected(wanted: &str, found: &Frame<'_>) -> Malformed {
    let found = match found {
        Frame::Simple(text) | Frame::Error(text) => String::from_utf8_lossy(text).into_owned(),
        Frame::Int(number) => number.to_string(),
        Frame::Bulk(bytes) => format!("a string of {} bytes", bytes.len()),
        Frame::Nil => "nil".into(),
        Frame::Array(length) => format!("an array of {length}"),
    };
    Malformed(format!("{found} where {wanted} belongs"))
}

/// Appends a command to a write buffer.
pub(crate) fn pack(out: &mut Vec<u8>, args: &[&[u8]]) {
    pack_header(out, b'*', args.len());
    args.iter().for_each(|arg| pack_arg(out, arg));
}

/// Appends the beginning of a command with so many arguments, each to follow by [`pack_arg`].
pub(crate) fn pack_start(out: &mut Vec<u8>, args: usize) {
    pack_header(out, b'*', args);
}

/// Appends one argument of a command.
pub(crate) fn pack_arg(out: &mut Vec<u8>, arg: &[u8]) {
    pack_header(out, b'$', arg.len());
    out.extend_from_slice(arg);
    out.extend_from_slice(b"\r\n");
}

fn pack_header(out: &mut Vec<u8>, kind: u8, number: usize) {
    if number < 100 {
        return pack_short_header(out, kind, number as u8);
    }
    out.push(kind);
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Nearly all are this short.
fn pack_short_header(out: &mut Vec<u8>, kind: u8, number: u8) {
    let [tens, ones] = [b'0' + number / 10, b'0' + number % 10];
    if number < 10 {
        out.extend_from_slice(&[kind, ones, b'\r', b'\n']);
    } else {
        out.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof};
    use proptest::{collection, prop_assert, prop_assert_eq, proptest};

    use super::*;

    /// A reply as the redis crate would hold it, and its bytes.
    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
            prop_oneof![
                4 => collection::vec(any::<u8>(), 0..40),
                1 => collection::vec(any::<u8>(), 90..1100),
            ]
            .prop_map(|bytes| {
                let mut out = Vec::new();
                pack_arg(&mut out, &bytes);
                out
            }),
            Just(b"$-1\r\n".to_vec()),
            Just(b"+OK\r\n".to_vec()),
            Just(b"-ERR no\r\n".to_vec()),
        ];
        leaf.prop_recursive(3, 40, 6, |inner| {
            collection::vec(inner, 0..6).prop_map(|parts| {
                let mut out = format!("*{}\r\n", parts.len()).into_bytes();
                parts.iter().for_each(|part| out.extend_from_slice(part));
                out
            })
        })
    }

    fn to_value(frames: &mut Frames<'_>) -> redis::Value {
        match frames.next().unwrap() {
            Frame::Simple(b"OK") => redis::Value::Okay,
            Frame::Simple(text) => redis::Value::SimpleString(String::from_utf8_lossy(text).into()),
            Frame::Error(text) => {
                let line = [b"-", text, b"\r\n"].concat();
                redis::parse_redis_value(&line).unwrap()
            }
            Frame::Int(number) => redis::Value::Int(number),
            Frame::Bulk(bytes) => redis::Value::BulkString(bytes.to_vec()),
            Frame::Nil => redis::Value::Nil,
            Frame::Array(length) => {
                redis::Value::Array((0..length).map(|_| to_value(frames)).collect())
            }
        }
    }

    proptest! {
        #[test]
        fn decodes_what_the_redis_crate_decodes(bytes in reply()) {
            let theirs = redis::parse_redis_value(&bytes).unwrap();
            let mut frames = Frames::new(&bytes);
            prop_assert_eq!(format!("{:?}", to_value(&mut frames)), format!("{theirs:?}"));
            prop_assert_eq!(frames.at, bytes.len());
        }

        #[test]
        fn finds_the_end_of_a_reply_whatever_the_packets(bytes in reply(), cut in any::<u16>()) {
            let cut = usize::from(cut) % bytes.len();
            let mut progress = Progress::START;
            prop_assert_eq!(progress.advance(&bytes[..cut]).unwrap(), None);
            prop_assert_eq!(progress.advance(&bytes).unwrap(), Some(bytes.len()));
        }

        #[test]
        fn never_panics_on_any_bytes(bytes in collection::vec(any::<u8>(), 0..80)) {
            let mut progress = Progress::START;
            if let Ok(Some(end)) = progress.advance(&bytes) {
                prop_assert!(end <= bytes.len());
                let _ = Frames::new(&bytes[..end]).skip();
            }
        }
    }

    #[test]
    fn numbers_reach_both_ends_of_i64_and_no_further() {
        assert_eq!(int(b"-9223372036854775808").unwrap(), i64::MIN);
        assert_eq!(int(b"9223372036854775807").unwrap(), i64::MAX);
        for bad in ["9223372036854775808", "", "-", "1x", "99999999999999999999"] {
            assert!(int(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn commands_are_packed_as_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        pack(&mut out, &[b"GET", b"", b"0123456789"]);
        assert_eq!(out, b"*3\r\n$3\r\nGET\r\n$0\r\n\r\n$10\r\n0123456789\r\n");
    }
}
