//! The same cases on a replica in memory and on a real server behind a proxy.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reknit::model::{
    DbIndex, DigestKey, Digester, Expect, Expiry, Key, Marker, Millis, Op, OwnerToken, ReplicaId,
    ReplicaName, RunNumber, Sequence, State, StateId, Value, Write,
};
use reknit::store::{
    Connecting, Data, Endpoint, Fault, MemoryReplica, RedisReplica, Replica, Seal, Sealing, Step,
    StoreError, WriteOutcome, Written,
};

use crate::support::proxy::{Proxy, Trap};
use crate::support::server::{RedisServer, run as command};

/// How long reknit waits for a server.
const PATIENCE: Duration = Duration::from_secs(20);
const DEPTH: usize = 10;

pub(crate) const STATE: StateId = StateId([0xaa; 16]);
pub(crate) const REPLICA: ReplicaId = ReplicaId([0xbb; 8]);
pub(crate) const OWNER: OwnerToken = OwnerToken([1; 8]);
pub(crate) const OTHER: OwnerToken = OwnerToken([2; 8]);
/// A time that no test reaches, and one after it.
pub(crate) const END: Expiry = Expiry::At(Millis(4_000_000_000_000));
pub(crate) const LATER: Expiry = Expiry::At(Millis(4_000_000_000_001));

/// What befalls the next transaction.
pub(crate) enum Befalls {
    /// A client sets this key to this text before EXEC.
    ClientSets(&'static str, &'static str),
    /// The answer to EXEC is lost.
    LostAnswer,
    /// The connection is lost, and EXEC arrives when it is delivered.
    LateExec,
}

/// A replica, what its clients do, and what befalls reknit's connection.
pub(crate) trait Ground {
    fn replica(&self) -> &dyn Replica;
    fn set(&self, db: u32, key: &str, text: &str);
    /// Puts a list there: another type than anything that reknit reads.
    fn set_list(&self, key: &str);
    fn expire(&self, key: &str, expiry: Expiry);
    fn text(&self, db: u32, key: &str) -> Option<String>;
    fn ends(&self, key: &str) -> Expiry;
    fn flush(&self, db: u32);
    fn arm(&self, befalls: Befalls);
    fn deliver(&self);
}

/// A replica in memory.
pub(crate) struct Memory(MemoryReplica);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(MemoryReplica::new("us", 1))
    }
}

impl Ground for Memory {
    fn replica(&self) -> &dyn Replica {
        &self.0
    }

    fn set(&self, db: u32, key: &str, text: &str) {
        let client = self.0.client_of(DbIndex(db));
        client.set_state(&Key::from(key), Some(string(text)));
    }

    fn set_list(&self, key: &str) {
        let list = Value::List(vec![Bytes::from_static(b"x")]);
        let client = self.0.client();
        client.set_state(&Key::from(key), Some(State::lasting(list)));
    }

    fn expire(&self, key: &str, expiry: Expiry) {
        let expire = Op::Expire(expiry);
        self.0.client().apply(&Key::from(key), &expire).unwrap();
    }

    fn text(&self, db: u32, key: &str) -> Option<String> {
        let state = self.0.client_of(DbIndex(db)).get(&Key::from(key))?;
        match state.value {
            Value::String(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            other => panic!("{key} holds {other:?}"),
        }
    }

    fn ends(&self, key: &str) -> Expiry {
        self.0.client().get(&Key::from(key)).unwrap().expiry
    }

    fn flush(&self, db: u32) {
        self.0.flush(DbIndex(db));
    }

    fn arm(&self, befalls: Befalls) {
        let mut armed = Some(befalls);
        let springs = move |step: Step<'_>, db: DbIndex, data: &mut Data| {
            let is_here = match &armed {
                Some(Befalls::ClientSets(..) | Befalls::LateExec) => {
                    matches!(step, Step::Execute(_))
                }
                Some(Befalls::LostAnswer) => matches!(step, Step::Answer(_)),
                None => false,
            };
            match armed.take_if(|_| is_here) {
                Some(Befalls::ClientSets(key, text)) => {
                    data.set_state(db, &Key::from(key), Some(string(text)));
                    Fault::None
                }
                Some(Befalls::LostAnswer) => Fault::Disconnect,
                Some(Befalls::LateExec) => Fault::Late,
                None => Fault::None,
            }
        };
        self.0.set_faults(Some(Box::new(springs)));
    }

    fn deliver(&self) {
        self.0.deliver_late();
    }
}

/// A real server, which reknit reaches through a proxy and clients reach directly.
pub(crate) struct Server {
    pub(crate) server: Arc<RedisServer>,
    pub(crate) proxy: Proxy,
    pub(crate) redis: RedisReplica,
    client: Mutex<redis::Connection>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::over(RedisServer::start(), None)
    }

    /// Over a server, as one of its users.
    pub(crate) fn over(server: RedisServer, user: Option<(&str, &str)>) -> Self {
        let proxy = Proxy::before(server.port());
        let connecting = Connecting {
            endpoint: Endpoint::Tcp {
                host: "127.0.0.1".into(),
                port: proxy.port(),
            },
            username: user.map(|(name, _)| name.into()),
            password: user.map(|(_, password)| password.into()),
            tls: None,
            asking: false,
            read_follower: false,
            follower: false,
            db: DbIndex(0),
            connect_timeout: PATIENCE,
            read_timeout: PATIENCE,
        };
        Self {
            redis: RedisReplica::new(ReplicaName("us".into()), connecting, DEPTH),
            client: Mutex::new(server.client()),
            proxy,
            server: Arc::new(server),
        }
    }

    /// What a client sends to database 0.
    pub(crate) fn client(&self, words: &[&str]) -> redis::Value {
        command(&mut self.client.lock().unwrap(), words)
    }
}

impl Ground for Server {
    fn replica(&self) -> &dyn Replica {
        &self.redis
    }

    fn set(&self, db: u32, key: &str, text: &str) {
        command(&mut self.server.client_db(db), ["SET", key, text]);
    }

    fn set_list(&self, key: &str) {
        self.client(&["DEL", key]);
        self.client(&["RPUSH", key, "x"]);
    }

    fn expire(&self, key: &str, expiry: Expiry) {
        self.client(&["PEXPIREAT", key, &expiry.to_string()]);
    }

    fn text(&self, db: u32, key: &str) -> Option<String> {
        let mut client = self.server.client_db(db);
        redis::cmd("GET").arg(key).query(&mut client).unwrap()
    }

    fn ends(&self, key: &str) -> Expiry {
        match self.client(&["PEXPIRETIME", key]) {
            redis::Value::Int(-1) => Expiry::Never,
            redis::Value::Int(at) => Expiry::At(Millis(at)),
            other => panic!("{other:?}"),
        }
    }

    fn flush(&self, db: u32) {
        command(&mut self.server.client_db(db), ["FLUSHDB"]);
    }

    fn arm(&self, befalls: Befalls) {
        self.proxy.arm(match befalls {
            Befalls::ClientSets(key, text) => {
                let server = Arc::clone(&self.server);
                Trap::Before(Box::new(move || {
                    server.cmd(["SET", key, text]);
                }))
            }
            Befalls::LostAnswer => Trap::LoseAnswer,
            Befalls::LateExec => Trap::Late,
        });
    }

    fn deliver(&self) {
        self.proxy.deliver();
    }
}

thread_local! {
    /// One for each test: connections do not outlive their runtime.
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

pub(crate) fn secret() -> DigestKey {
    DigestKey::new([7; 32])
}

pub(crate) fn string(text: &str) -> State {
    State::lasting(Value::String(Bytes::copy_from_slice(text.as_bytes())))
}

/// The marker of lane 0.
pub(crate) fn lane() -> Key {
    Key::from(format!("reknit:marker:{REPLICA}:0").as_str())
}

pub(crate) fn marker(sequence: u64) -> Marker {
    Marker {
        state: STATE,
        owner: OWNER,
        run: RunNumber(1),
        sequence: Sequence(sequence),
        written: 0,
    }
}

/// The first seal of a lane.
pub(crate) fn first(sequence: u64) -> Seal {
    Seal {
        lane: lane(),
        expect: None,
        set: marker(sequence),
        register: Some(REPLICA),
    }
}

/// A seal behind another.
pub(crate) fn after(found: Marker, sequence: u64) -> Seal {
    Seal {
        expect: Some(found),
        register: None,
        ..first(sequence)
    }
}

/// Puts a text in the place of this one, or of nothing.
pub(crate) fn put(key: &str, expected: Option<&str>, text: &str) -> Write {
    Write {
        key: Key::from(key),
        expect: match expected {
            None => Expect::Absent,
            Some(text) => Expect::Exactly {
                digest: Digester::new(secret()).value(&string(text).value),
                expiry: Expiry::Never,
            },
        },
        ops: vec![Op::Put(string(text).value)],
    }
}

/// Increases a counter that has this expiry.
pub(crate) fn count(key: &str, delta: i64, expiry: Expiry) -> Write {
    Write {
        key: Key::from(key),
        expect: Expect::Counter { expiry },
        ops: vec![Op::IncreaseBy(delta)],
    }
}

pub(crate) fn write(
    ground: &dyn Ground,
    writes: &[Write],
    seal: &Seal,
) -> Result<Written, StoreError> {
    run(ground
        .replica()
        .write(Some(DbIndex(0)), writes, &secret(), Some(seal)))
}

/// Writes, and answers the marker that was set.
pub(crate) fn write_all(ground: &dyn Ground, writes: &[Write], seal: &Seal) -> Marker {
    let written = write(ground, writes, seal).unwrap();
    assert_eq!(written.outcomes, vec![WriteOutcome::Applied; writes.len()]);
    match written.sealing {
        Sealing::Set(marker) => marker,
        other => panic!("{other:?}"),
    }
}

/// What the marker of lane 0 says in the replica.
pub(crate) fn found(ground: &dyn Ground) -> Option<Marker> {
    let text = run(ground.replica().marker(None, &lane())).unwrap();
    text.map(|text| Marker::decode(&text).unwrap())
}

pub(crate) fn is_fenced(written: Result<Written, StoreError>, by: Option<Marker>) -> bool {
    matches!(written, Err(StoreError::Fenced { found, .. }) if found == by)
}
