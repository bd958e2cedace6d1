//! Commands and answers as bytes: what loading a million keys and the benchmark's floor need, and no more.

use std::io::{self, Read, Write};
use std::net::TcpStream;

const READ_BYTES: usize = 64 * 1024;

/// Appends one command to a pipeline.
pub(crate) fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    head(out, b'*', args.len());
    for arg in args {
        head(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// A line with a count. Formatting machinery would cost the floor more than all the rest.
fn head(out: &mut Vec<u8>, sign: u8, mut count: usize) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (count % 10) as u8;
        count /= 10;
        if count == 0 {
            break;
        }
    }
    out.push(sign);
    out.extend_from_slice(&digits[first..]);
    out.extend_from_slice(b"\r\n");
}

/// Where the answer at the start of `bytes` ends; nothing if it is not there in full.
///
/// Nothing is decoded: elements are counted and stepped over.
pub(crate) fn answer_end(bytes: &[u8]) -> Option<usize> {
    let mut outstanding: i64 = 1;
    let mut at = 0;
    while outstanding > 0 {
        let line = bytes.get(at..)?;
        let length = line.iter().position(|&byte| byte == b'\n')? + 1;
        at += length;
        outstanding -= 1;
        let number = || parse_number(&line[1..length - 2]);
        match line[0] {
            b'$' if number() >= 0 => at += number() as usize + 2,
            b'*' if number() > 0 => outstanding += number(),
            _ => {}
        }
    }
    (at <= bytes.len()).then_some(at)
}

fn parse_number(digits: &[u8]) -> i64 {
    let value = |digits: &[u8]| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0'));
    match digits {
        [b'-', rest @ ..] => -value(rest),
        _ => value(digits),
    }
}

/// A connection that speaks bytes.
#[derive(Debug)]
pub(crate) struct RawClient {
    stream: TcpStream,
    /// Invariant: `start <= end <= buffer.len()`; what lies between was received and not yet taken.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl RawClient {
    /// Connects to a server on this machine.
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
        })
    }

    /// Sends commands.
    pub(crate) fn send(&mut self, commands: &[u8]) -> io::Result<()> {
        self.stream.write_all(commands)
    }

    /// The next answer, if it has been received already.
    pub(crate) fn received(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(length) = answer_end(&self.buffer[self.start..self.end]) else {
            return Ok(None);
        };
        let answer = &self.buffer[self.start..self.start + length];
        if answer[0] == b'-' {
            return Err(io::Error::other(answer.escape_ascii().to_string()));
        }
        self.start += length;
        Ok(Some(answer))
    }

    /// Waits for bytes from the server.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.end..])?;
        self.end += read;
        if read == 0 {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }

    /// Sends commands and throws their answers away; the first error among them is returned.
    pub(crate) fn exchange(&mut self, commands: &[u8], answers: usize) -> io::Result<()> {
        self.send(commands)?;
        let mut seen = 0;
        while seen < answers {
            if self.received()?.is_some() {
                seen += 1;
            } else {
                self.receive()?;
            }
        }
        Ok(())
    }
}
