//! Stories on real servers: one redis-server per replica, read back by commands of the test's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Connection, FromRedisValue, Value as Answer};
use reknit::clock::{Clock, SystemClock};
use reknit::model::{
    DbIndex, Expiry, Field, Key, Millis, ReplicaName, Score, State, Stream, StreamId, Value,
};
use reknit::store::{Connecting, Endpoint, RedisReplica, Replica};

use crate::support::server::RedisServer;

use super::world::{Ground, Site};

/// Commands under way on a connection of reknit.
const DEPTH: usize = 10;
/// How long reknit waits for a server.
const PATIENCE: Duration = Duration::from_secs(20);

/// Real servers; the story begins when this is made.
pub(crate) struct Servers {
    beginning: Millis,
}

impl Servers {
    /// A story that begins now.
    pub(crate) fn new() -> Self {
        Self {
            beginning: SystemClock.now(),
        }
    }
}

struct ServerSite {
    replica: Arc<RedisReplica>,
    client: Mutex<Connection>,
    /// Ends with the site.
    _server: RedisServer,
}

#[async_trait]
impl Ground for Servers {
    fn beginning(&self) -> Millis {
        self.beginning
    }

    async fn site(&self, name: &str) -> Box<dyn Site> {
        let server = RedisServer::start();
        let connecting = Connecting {
            endpoint: Endpoint::Tcp {
                host: "127.0.0.1".into(),
                port: server.port(),
            },
            username: None,
            password: None,
            tls: None,
            asking: false,
            read_follower: false,
            follower: false,
            db: DbIndex(0),
            connect_timeout: PATIENCE,
            read_timeout: PATIENCE,
        };
        Box::new(ServerSite {
            replica: Arc::new(RedisReplica::new(
                ReplicaName(name.into()),
                connecting,
                DEPTH,
            )),
            client: Mutex::new(server.client()),
            _server: server,
        })
    }
}

#[async_trait]
impl Site for ServerSite {
    fn replica(&self) -> Arc<dyn Replica> {
        self.replica.clone()
    }

    async fn send(&self, command: &[Bytes]) -> Result<(), String> {
        let words: Vec<&[u8]> = command.iter().map(|word| &word[..]).collect();
        let mut client = self.client.lock().expect("a client that did not panic");
        ask(&mut client, &words).map(|_| ())
    }

    async fn states(&self) -> BTreeMap<Key, State> {
        let mut client = self.client.lock().expect("a client that did not panic");
        let keys: Vec<Vec<u8>> = read(&mut client, &[b"KEYS", b"*"]);
        let mut states = BTreeMap::new();
        for key in keys {
            let state = state(&mut client, &key);
            states.insert(Key::new(key), state);
        }
        states
    }

    fn set_now(&self, _: Millis) -> Result<(), String> {
        Err("a real server's clock cannot be set".into())
    }

    fn set_reachable(&self, _: bool) -> Result<(), String> {
        Err("a real server is always reached".into())
    }
}

/// A command, and its answer; an error is in the server's words.
fn ask(client: &mut Connection, words: &[&[u8]]) -> Result<Answer, String> {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(*word);
    });
    let refusal = |error: redis::RedisError| {
        let code = error.code().unwrap_or_default();
        format!("{code} {}", error.detail().unwrap_or_default())
    };
    command.query(client).map_err(refusal)
}

fn read<T: FromRedisValue>(client: &mut Connection, words: &[&[u8]]) -> T {
    let answer = ask(client, words).expect("an answer");
    T::from_redis_value(answer).expect("an answer of this form")
}

fn state(client: &mut Connection, key: &[u8]) -> State {
    let kind: String = read(client, &[b"TYPE", key]);
    let value = match &*kind {
        "string" => Value::String(read::<Vec<u8>>(client, &[b"GET", key]).into()),
        "list" => Value::List(words(client, &[b"LRANGE", key, b"0", b"-1"])),
        "set" => Value::Set(words(client, &[b"SMEMBERS", key]).into_iter().collect()),
        "hash" => {
            let fields = pairs(client, &[b"HGETALL", key]).into_iter();
            Value::Hash(
                fields
                    .map(|(name, value)| (name, Field::lasting(value)))
                    .collect(),
            )
        }
        "zset" => {
            let scored = pairs(client, &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]);
            let score = |text: &Bytes| Score::parse(text).expect("a score");
            Value::SortedSet(
                scored
                    .into_iter()
                    .map(|(name, text)| (name, score(&text)))
                    .collect(),
            )
        }
        "stream" => Value::Stream(stream(client, key)),
        other => panic!("stories do not know the type {other}"),
    };
    let expiry = match read(client, &[b"PEXPIRETIME", key]) {
        -1 => Expiry::Never,
        at => Expiry::At(Millis(at)),
    };
    State { value, expiry }
}

fn stream(client: &mut Connection, key: &[u8]) -> Stream {
    let entries: Vec<(Vec<u8>, Vec<Vec<u8>>)> = read(client, &[b"XRANGE", key, b"-", b"+"]);
    let info: BTreeMap<String, Answer> = read(client, &[b"XINFO", b"STREAM", key]);
    let groups: Vec<BTreeMap<String, Answer>> = read(client, &[b"XINFO", b"GROUPS", key]);
    let bytes = |answer: &Answer| -> Bytes {
        Vec::<u8>::from_redis_value(answer.clone())
            .expect("bytes")
            .into()
    };
    let id = |text: &[u8]| StreamId::parse(text).expect("a stream ID");
    Stream {
        entries: entries
            .into_iter()
            .map(|(at, flat)| (id(&at), paired(flat.into_iter().map(Bytes::from).collect())))
            .collect(),
        last_id: id(&bytes(&info["last-generated-id"])),
        groups: groups
            .iter()
            .map(|group| {
                (
                    bytes(&group["name"]),
                    id(&bytes(&group["last-delivered-id"])),
                )
            })
            .collect(),
    }
}

fn words(client: &mut Connection, command: &[&[u8]]) -> Vec<Bytes> {
    let words: Vec<Vec<u8>> = read(client, command);
    words.into_iter().map(Bytes::from).collect()
}

fn pairs(client: &mut Connection, command: &[&[u8]]) -> Vec<(Bytes, Bytes)> {
    paired(words(client, command))
}

fn paired(flat: Vec<Bytes>) -> Vec<(Bytes, Bytes)> {
    flat.chunks(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}
