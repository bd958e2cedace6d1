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

/// The first read of a value of this type. The one place to change when reknit reads differently.
fn first_read(kind: &[u8], key: &[u8]) -> Vec<Vec<u8>> {
    let read: &[&[&[u8]]] = match kind {
        b"string" => &[&[b"GETRANGE", key, b"0", b"65535"]],
        b"hash" => &[&[b"HSCAN", key, b"0", b"COUNT", b"1000"]],
        b"set" => &[&[b"SSCAN", key, b"0", b"COUNT", b"1000"]],
        b"zset" => &[&[b"ZSCAN", key, b"0", b"COUNT", b"1000"]],
        b"list" => &[&[b"LRANGE", key, b"0", b"999"]],
        b"stream" => &[&[b"XRANGE", key, b"-", b"+", b"COUNT", b"1000"]],
        _ => &[],
    };
    read.iter().map(|args| encoded(args)).collect()
}

/// What is asked of a key before its type is known, beside TYPE.
fn questions(key: &[u8]) -> Vec<Vec<u8>> {
    vec![encoded(&[b"PEXPIRETIME", key])]
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
    queue: VecDeque<(Vec<u8>, Awaited)>,
    outstanding: VecDeque<Awaited>,
    keys: u64,
}

impl Floor {
    fn connect(port: u16, args: &Args) -> io::Result<Self> {
        Ok(Self {
            client: RawClient::connect(port)?,
            pipeline: args.pipeline,
            page: args.page.to_string(),
            queue: VecDeque::new(),
            outstanding: VecDeque::new(),
            keys: 0,
        })
    }

    fn read_all(mut self) -> io::Result<u64> {
        self.ask_page(b"0");
        while !(self.queue.is_empty() && self.outstanding.is_empty()) {
            self.send()?;
            self.client.receive()?;
            self.take_answers()?;
        }
        Ok(self.keys)
    }

    /// Fills the pipeline up to its depth, in one write.
    fn send(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        while self.outstanding.len() < self.pipeline {
            let Some((command, awaited)) = self.queue.pop_front() else {
                break;
            };
            bytes.extend_from_slice(&command);
            self.outstanding.push_back(awaited);
        }
        if bytes.is_empty() {
            Ok(())
        } else {
            self.client.send(&bytes)
        }
    }

    fn take_answers(&mut self) -> io::Result<()> {
        while let Some(answer) = self.client.received()? {
            match self.outstanding.pop_front() {
                Some(Awaited::Page) => {
                    let (cursor, names) = page(answer);
                    self.ask_keys(&cursor, names);
                }
                Some(Awaited::Type(key)) => {
                    // Read before anything else of the page, so that few types are kept in mind.
                    for read in first_read(&answer[1..answer.len() - 2], &key)
                        .into_iter()
                        .rev()
                    {
                        self.queue.push_front((read, Awaited::Nothing));
                    }
                }
                Some(Awaited::Nothing) => {}
                None => return Err(io::Error::other("an answer to no question")),
            }
        }
        Ok(())
    }

    fn ask_page(&mut self, cursor: &[u8]) {
        let scan = encoded(&[b"SCAN", cursor, b"COUNT", self.page.as_bytes()]);
        self.queue.push_back((scan, Awaited::Page));
    }

    /// Queues the page's keys and, behind them, the next page: its names arrive while the last values are read.
    fn ask_keys(&mut self, cursor: &[u8], names: Vec<Vec<u8>>) {
        self.keys += names.len() as u64;
        for name in names {
            let others = questions(&name);
            self.queue
                .push_back((encoded(&[b"TYPE", &name]), Awaited::Type(name)));
            self.queue
                .extend(others.into_iter().map(|other| (other, Awaited::Nothing)));
        }
        if cursor != b"0" {
            self.ask_page(cursor);
        }
    }
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

fn encoded(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    command(&mut out, args);
    out
}
