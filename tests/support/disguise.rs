//! A server that looks like another: a proxy before a real one, which changes what it says of itself and adds fields
//! that end by themselves.
//!
//! ```text
//! reknit ──▶ disguise ──▶ redis-server        INFO, COMMAND INFO   said otherwise
//!                                             XINFO STREAM FULL    refused, as by Redis 5
//!                                             HSET, HPEXPIREAT ... by a script, the ends of fields in database 15
//! ```
//!
//! Commands that a server lacks are taken away from the real one (`rename-command`), so that scripts and transactions
//! lack them as well: see [`lacking`].

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::resp::{answer_end, command};
use super::server::{Builder, RedisServer};

/// Does a command of hashes beside which it keeps when fields end.
const SCRIPT: &str = include_str!("disguise/fields.lua");

/// What is added where fields end by themselves.
const OF_FIELDS: [&str; 3] = ["hpexpiretime", "hpexpireat", "hpersist"];

/// What goes by the script, and the place of its key.
const BY_SCRIPT: [&str; 13] = [
    "HPEXPIRETIME",
    "HPEXPIREAT",
    "HPERSIST",
    "HSET",
    "HDEL",
    "HGET",
    "HMGET",
    "HGETALL",
    "HSCAN",
    "HLEN",
    "UNLINK",
    "DEL",
    "RENAME",
];

/// How a server looks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks {
    /// Lines of INFO in place of the real ones, or added.
    pub(crate) info: Vec<(&'static str, &'static str)>,
    /// Lines that INFO has not.
    pub(crate) silent_on: Vec<&'static str>,
    /// Whether COMMAND INFO is refused.
    pub(crate) hides_commands: bool,
    /// Whether COMMAND INFO leaves out what it does not know.
    pub(crate) leaves_out: bool,
    /// Whether it is older than XINFO STREAM FULL.
    pub(crate) without_full: bool,
    /// Whether hash fields can end.
    pub(crate) ending_fields: bool,
}

/// A server that lacks these commands.
pub(crate) fn lacking(commands: &[&str]) -> RedisServer {
    let lines = commands.iter();
    let without =
        |builder: Builder, name: &&str| builder.line(&format!("rename-command {name} \"\""));
    lines.fold(RedisServer::builder(), without).start()
}

/// What Redis 5 lacks of what reknit uses.
pub(crate) const NOT_IN_5: [&str; 4] = ["PEXPIRETIME", "SMISMEMBER", "ZMSCORE", "XAUTOCLAIM"];

/// A proxy on a port of its own. Its threads end with the connections.
#[derive(Debug)]
pub(crate) struct Disguise {
    port: u16,
}

impl Disguise {
    /// Listens before this server.
    pub(crate) fn before(server: &RedisServer, looks: Looks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let (behind, looks) = (server.port(), Arc::new(looks));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let looks = Arc::clone(&looks);
                thread::spawn(move || drop(serve(client, behind, &looks)));
            }
        });
        Self { port }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// One command on a connection of its own; the whole answer as text.
    pub(crate) fn cmd(&self, args: &[&str]) -> String {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let mut server = Server::connect(self.port).expect("it listens");
        String::from_utf8_lossy(&server.ask(&args).expect("it answers")).into_owned()
    }
}

/// The connection to the real server.
struct Server {
    stream: TcpStream,
    received: Vec<u8>,
    db: Vec<u8>,
}

impl Server {
    fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
            db: b"0".to_vec(),
        })
    }

    fn ask(&mut self, args: &[Vec<u8>]) -> std::io::Result<Vec<u8>> {
        let words: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let mut packed = Vec::new();
        command(&mut packed, &words);
        self.stream.write_all(&packed)?;
        loop {
            if let Some(end) = answer_end(&self.received) {
                return Ok(self.received.drain(..end).collect());
            }
            more(&mut self.stream, &mut self.received)?;
        }
    }
}

fn more(stream: &mut TcpStream, received: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 64 << 10];
    match stream.read(&mut buffer)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        length => {
            received.extend_from_slice(&buffer[..length]);
            Ok(())
        }
    }
}

fn serve(mut client: TcpStream, port: u16, looks: &Looks) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = Server::connect(port)?;
    let mut received = Vec::new();
    loop {
        while let Some(end) = answer_end(&received) {
            let packed: Vec<u8> = received.drain(..end).collect();
            let answer = answer(&words(&packed), &mut server, looks)?;
            client.write_all(&answer)?;
        }
        more(&mut client, &mut received)?;
    }
}

/// The words of a command that came whole.
fn words(packed: &[u8]) -> Vec<Vec<u8>> {
    let value = redis::parse_redis_value(packed).expect("a command");
    redis::from_redis_value(value).expect("of strings")
}

fn answer(args: &[Vec<u8>], server: &mut Server, looks: &Looks) -> std::io::Result<Vec<u8>> {
    let word = |at: usize| {
        let word = args.get(at).cloned().unwrap_or_default();
        String::from_utf8_lossy(&word).to_uppercase()
    };
    match (word(0).as_str(), word(1).as_str()) {
        ("COMMAND", "INFO") if looks.hides_commands => Ok(
            b"-NOPERM this user has no permissions to run the 'command|info' command\r\n".to_vec(),
        ),
        ("COMMAND", "INFO") => commands(&args[2..], server, looks),
        ("INFO", _) => Ok(info(&server.ask(args)?, looks)),
        ("XINFO", "STREAM") if looks.without_full && word(3) == "FULL" => {
            Ok(b"-ERR Unknown subcommand or wrong number of arguments for 'STREAM'\r\n".to_vec())
        }
        (verb, _) if looks.ending_fields && BY_SCRIPT.contains(&verb) => {
            let mut call = ["EVAL", SCRIPT, "0"]
                .map(|word| word.as_bytes().to_vec())
                .to_vec();
            call.push(server.db.clone());
            call.push(verb.as_bytes().to_vec());
            call.extend(args[1..].iter().cloned());
            server.ask(&call)
        }
        ("SELECT", _) => {
            server.db.clone_from(&args[1]);
            server.ask(args)
        }
        _ => server.ask(args),
    }
}

/// What the server says of each command; of those that are added, that they are there.
fn commands(names: &[Vec<u8>], server: &mut Server, looks: &Looks) -> std::io::Result<Vec<u8>> {
    let mut entries = Vec::new();
    for name in names {
        let text = String::from_utf8_lossy(name).to_lowercase();
        if looks.ending_fields && OF_FIELDS.contains(&text.as_str()) {
            let entry = format!(
                "*6\r\n${}\r\n{text}\r\n:-5\r\n*0\r\n:1\r\n:1\r\n:1\r\n",
                text.len()
            );
            entries.push(entry.into_bytes());
            continue;
        }
        let asked = [b"COMMAND".to_vec(), b"INFO".to_vec(), name.clone()];
        let answer = server.ask(&asked)?;
        let entry = answer.strip_prefix(b"*1\r\n").expect("one entry").to_vec();
        if !(looks.leaves_out && entry == b"*-1\r\n") {
            entries.push(entry);
        }
    }
    let head = format!("*{}\r\n", entries.len()).into_bytes();
    Ok([head, entries.concat()].concat())
}

fn info(answer: &[u8], looks: &Looks) -> Vec<u8> {
    let text = String::from_utf8_lossy(answer);
    let Some((_, body)) = text.split_once("\r\n") else {
        return answer.to_vec();
    };
    let changed = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        let is_changed = looks.info.iter().any(|(changed, _)| *changed == name);
        !is_changed && !looks.silent_on.contains(&name)
    };
    let kept = body.trim_end().lines().filter(changed).map(str::to_owned);
    let added = looks
        .info
        .iter()
        .map(|(name, value)| format!("{name}:{value}"));
    let body: Vec<String> = kept.chain(added).collect();
    let body = body.join("\r\n") + "\r\n";
    format!("${}\r\n{body}\r\n", body.len()).into_bytes()
}
