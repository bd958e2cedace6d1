//! The floor: every key of both servers is read by the commands that reknit uses, and the answers are thrown away.
//!
//! One connection and one thread per server; at most `--pipeline` commands are outstanding. Only what steers the
//! reading is decoded: the names in a page of SCAN and the answer of TYPE.

use std::collections::VecDeque;
use std::io;
use std::thread;

use anyhow::{Context, Result};

use crate::Args;
use crate::support::resp::{RawClient, answer_end, command};

/// Commands that ask for a key's type and expiry.
const QUESTIONS: usize = 2;
/// Commands of a value's first read, at most.
const READS: usize = 1;

/// What is asked of a key before its type is known. The first answer must be that of TYPE.
fn questions(out: &mut Vec<u8>, key: &[u8]) {
    command(out, &[b"TYPE", key]);
    command(out, &[b"PEXPIRETIME", key]);
}

/// The first read of a value of this type; how many commands it is. The one place to change (with [`READS`]) when
/// reknit reads differently.
fn first_read(out: &mut Vec<u8>, kind: &[u8], key: &[u8]) -> usize {
    match kind {
        b"string" => command(out, &[b"GETRANGE", key, b"0", b"65535"]),
        b"hash" => command(out, &[b"HSCAN", key, b"0", b"COUNT", b"1000"]),
        b"set" => command(out, &[b"SSCAN", key, b"0", b"COUNT", b"1000"]),
        b"zset" => command(out, &[b"ZSCAN", key, b"0", b"COUNT", b"1000"]),
        b"list" => command(out, &[b"LRANGE", key, b"0", b"999"]),
        b"stream" => command(out, &[b"XRANGE", key, b"-", b"+", b"COUNT", b"1000"]),
        // Gone since SCAN named it, or a module's.
        _ => return 0,
    }
    1
}

/// Reads all keys of both servers at once; how many keys each had.
pub(crate) fn read_both(ports: [u16; 2], args: &Args) -> Result<[u64; 2]> {
    let [left, right] = thread::scope(|scope| {
        let reads = ports.map(|port| scope.spawn(move || Floor::connect(port, args)?.read_all()));
        reads.map(|read| read.join().expect("the floor does not panic"))
    });
    Ok([
        left.context("the first server")?,
        right.context("the second server")?,
    ])
}

/// What is still to be asked.
enum Ask {
    Page(Vec<u8>),
    Key(Vec<u8>),
    Value(Kind, Vec<u8>),
}

impl Ask {
    /// How many commands it is at most.
    fn commands(&self) -> usize {
        match self {
            Self::Page(_) => 1,
            Self::Key(_) => QUESTIONS,
            Self::Value(..) => READS,
        }
    }
}

/// The longest name that TYPE answers is `stream`; a module's is not read.
type Kind = [u8; 6];

/// What an outstanding answer is for.
enum Awaited {
    Page,
    Type(Vec<u8>),
    Nothing,
}

struct Floor {
    client: RawClient,
    pipeline: usize,
    page: String,
    queue: VecDeque<Ask>,
    outstanding: VecDeque<Awaited>,
    keys: u64,
    out: Vec<u8>,
}

impl Floor {
    fn connect(port: u16, args: &Args) -> io::Result<Self> {
        Ok(Self {
            client: RawClient::connect(port)?,
            pipeline: args.pipeline,
            page: args.page.to_string(),
            queue: VecDeque::from([Ask::Page(b"0".to_vec())]),
            outstanding: VecDeque::new(),
            keys: 0,
            out: Vec::new(),
        })
    }

    fn read_all(mut self) -> io::Result<u64> {
        while !(self.queue.is_empty() && self.outstanding.is_empty()) {
            self.send()?;
            if !self.outstanding.is_empty() {
                self.client.receive()?;
            }
            self.take_answers()?;
        }
        Ok(self.keys)
    }

    /// Fills the pipeline up to its depth, in one write.
    fn send(&mut self) -> io::Result<()> {
        self.out.clear();
        while let Some(ask) = self.queue.pop_front() {
            let outstanding = self.outstanding.len();
            if outstanding > 0 && outstanding + ask.commands() > self.pipeline {
                self.queue.push_front(ask);
                break;
            }
            self.write(ask);
        }
        if self.out.is_empty() {
            Ok(())
        } else {
            self.client.send(&self.out)
        }
    }

    fn write(&mut self, ask: Ask) {
        match ask {
            Ask::Page(cursor) => {
                command(
                    &mut self.out,
                    &[b"SCAN", &cursor, b"COUNT", self.page.as_bytes()],
                );
                self.outstanding.push_back(Awaited::Page);
            }
            Ask::Key(key) => {
                questions(&mut self.out, &key);
                self.outstanding.push_back(Awaited::Type(key));
                self.outstanding
                    .extend((1..QUESTIONS).map(|_| Awaited::Nothing));
            }
            Ask::Value(kind, key) => {
                let reads = first_read(&mut self.out, kind.trim_ascii_end(), &key);
                self.outstanding
                    .extend((0..reads).map(|_| Awaited::Nothing));
            }
        }
    }

    fn take_answers(&mut self) -> io::Result<()> {
        while let Some(answer) = self.client.received()? {
            match self.outstanding.pop_front() {
                Some(Awaited::Page) => {
                    let (cursor, names) = page(answer);
                    self.ask_keys(cursor, names);
                }
                // Read before anything else of the page, so that few types are kept in mind.
                Some(Awaited::Type(key)) => self.queue.push_front(Ask::Value(kind(answer), key)),
                Some(Awaited::Nothing) => {}
                None => return Err(io::Error::other("an answer to no question")),
            }
        }
        Ok(())
    }

    /// Queues the page's keys and, behind them, the next page: its names arrive while the last values are read.
    fn ask_keys(&mut self, cursor: Vec<u8>, names: Vec<Vec<u8>>) {
        self.keys += names.len() as u64;
        self.queue.extend(names.into_iter().map(Ask::Key));
        if cursor != b"0" {
            self.queue.push_back(Ask::Page(cursor));
        }
    }
}

/// The type in an answer of TYPE, padded with blanks.
fn kind(answer: &[u8]) -> Kind {
    let name = &answer[1..answer.len() - 2];
    let mut kind = [b' '; 6];
    if name.len() <= kind.len() {
        kind[..name.len()].copy_from_slice(name);
    }
    kind
}

/// The cursor and the names in an answer of SCAN.
fn page(answer: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut rest = after_line(answer);
    let cursor = take_bulk(&mut rest);
    rest = after_line(rest);
    let mut names = Vec::new();
    while !rest.is_empty() {
        names.push(take_bulk(&mut rest));
    }
    (cursor, names)
}

fn take_bulk(rest: &mut &[u8]) -> Vec<u8> {
    let end = answer_end(rest).expect("the answer is there in full");
    let (bulk, after) = rest.split_at(end);
    *rest = after;
    let content = after_line(bulk);
    content[..content.len() - 2].to_vec()
}

fn after_line(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .expect("every answer begins with a line");
    &bytes[end + 1..]
}
