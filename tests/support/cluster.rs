//! A Redis Cluster of child processes on free ports: some masters, each with one replica.

use std::time::{Duration, Instant};

use redis::Value;

use super::server::RedisServer;

/// How long a cluster may take to be whole, or to be whole again.
const LIMIT: Duration = Duration::from_secs(30);
/// The pause between two questions whether it is.
const POLL: Duration = Duration::from_millis(20);

/// The number of slots.
pub(crate) const SLOTS: u16 = 16_384;

/// A running cluster; its servers are killed when dropped.
pub(crate) struct Cluster {
    /// The masters, and behind them their replicas in the same order.
    pub(crate) nodes: Vec<RedisServer>,
    masters: usize,
}

impl Cluster {
    /// Starts so many masters with one replica each.
    pub(crate) fn start(masters: usize) -> Self {
        Self::shaped(masters, true)
    }

    /// Starts so many masters without replicas.
    pub(crate) fn without_replicas(masters: usize) -> Self {
        Self::shaped(masters, false)
    }

    fn shaped(masters: usize, replicas: bool) -> Self {
        let count = masters * if replicas { 2 } else { 1 };
        let nodes = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..count).map(|_| scope.spawn(start_node)).collect();
            starting
                .into_iter()
                .map(|one| one.join().expect("a node starts"))
                .collect()
        });
        let cluster = Self { nodes, masters };
        cluster.meet();
        cluster.share_slots();
        if replicas {
            cluster.replicate();
        }
        cluster.await_whole();
        cluster
    }

    /// Lets every node know every other, with an epoch of its own.
    fn meet(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            node.cmd(["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        for other in &self.nodes[1..] {
            let (port, bus) = (other.port().to_string(), bus_port(other));
            self.nodes[0].cmd(["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let all = self.nodes.len();
        let knows = |node: &RedisServer| {
            let text: String = text(node.cmd(["CLUSTER", "NODES"]));
            text.lines().count() == all && !text.contains("handshake")
        };
        wait("all nodes know each other", || self.nodes.iter().all(knows));
    }

    fn share_slots(&self) {
        let share = usize::from(SLOTS) / self.masters;
        for (number, master) in self.masters().iter().enumerate() {
            let first = number * share;
            let last = match number + 1 == self.masters {
                true => usize::from(SLOTS) - 1,
                false => first + share - 1,
            };
            let range = [first.to_string(), last.to_string()];
            master.cmd(["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
        }
    }

    fn replicate(&self) {
        for (master, replica) in self.masters().iter().zip(&self.nodes[self.masters..]) {
            replica.cmd(["CLUSTER", "REPLICATE", &id(master)]);
        }
        let linked =
            |node: &RedisServer| info(node, "replication").contains("master_link_status:up");
        wait("all replicas follow", || {
            self.nodes[self.masters..].iter().all(linked)
        });
    }

    /// Waits until every node that runs sees all slots held.
    pub(crate) fn await_whole(&self) {
        wait("the cluster is whole", || {
            let mut running = self.nodes.iter().filter(|node| node.runs());
            running.all(|node| {
                let text = text(node.cmd(["CLUSTER", "INFO"]));
                text.contains("cluster_state:ok") && text.contains("cluster_slots_ok:16384")
            })
        });
    }

    /// The servers that began as masters.
    pub(crate) fn masters(&self) -> &[RedisServer] {
        &self.nodes[..self.masters]
    }

    /// The URL, by the first nodes.
    pub(crate) fn url(&self) -> String {
        let ports = self.nodes.iter().take(3).map(|node| node.port());
        let seeds: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+cluster://{}", seeds.join(","))
    }

    /// One command, at the node that takes it: redirections are followed, and a failover is waited for.
    pub(crate) fn cmd<A: AsRef<[u8]>>(&self, args: &[A]) -> Value {
        let deadline = Instant::now() + LIMIT;
        let mut at = self
            .nodes
            .iter()
            .find(|node| node.runs())
            .expect("a node")
            .port();
        loop {
            let (answer, next) = attempt(at, args);
            match answer {
                Some(value) => return value,
                None => assert!(Instant::now() < deadline, "nobody takes the command"),
            }
            let mut others = self
                .nodes
                .iter()
                .filter(|node| node.runs() && node.port() != at);
            at = next.unwrap_or_else(|| others.next().expect("another node").port());
        }
    }

    /// All keys with their strings, of all masters as they are now.
    pub(crate) fn strings(&self) -> std::collections::BTreeMap<String, String> {
        let masters = self
            .nodes
            .iter()
            .filter(|node| node.runs() && info(node, "replication").contains("role:master"));
        let mut all = std::collections::BTreeMap::new();
        for master in masters {
            let mut client = master.client();
            let keys: Vec<String> = redis::cmd("KEYS")
                .arg("*")
                .query(&mut client)
                .expect("keys");
            for key in keys.into_iter().filter(|key| !key.starts_with("reknit:")) {
                let value: String = redis::cmd("GET")
                    .arg(&key)
                    .query(&mut client)
                    .expect("a value");
                all.insert(key, value);
            }
        }
        all
    }

    /// How many keys all masters hold, reknit's among them.
    pub(crate) fn strings_len(&self) -> i64 {
        let count = |node: &RedisServer| -> i64 {
            redis::from_redis_value(node.cmd(["DBSIZE"])).expect("a number")
        };
        self.masters().iter().map(count).sum()
    }

    /// Moves slots between two masters, key by key, as a resharding does.
    pub(crate) fn move_slots(&self, from: usize, to: usize, slots: std::ops::Range<u16>) {
        for slot in slots {
            self.begin_move(from, to, slot);
            self.move_keys(from, to, slot, usize::MAX);
            self.end_move(from, to, slot);
        }
    }

    /// Marks a slot as on its way.
    pub(crate) fn begin_move(&self, from: usize, to: usize, slot: u16) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let slot = slot.to_string();
        target.cmd(["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(source)]);
        source.cmd(["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(target)]);
    }

    /// Moves some keys of a slot that is on its way.
    pub(crate) fn move_keys(&self, from: usize, to: usize, slot: u16, most: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let slot = slot.to_string();
        let listed = source.cmd(["CLUSTER", "GETKEYSINSLOT", &slot, "100000"]);
        let keys: Vec<Vec<u8>> = redis::from_redis_value(listed).expect("names");
        for key in keys.into_iter().take(most) {
            let port = target.port().to_string();
            let args: [&[u8]; 6] = [
                b"MIGRATE",
                b"127.0.0.1",
                port.as_bytes(),
                &key,
                b"0",
                b"5000",
            ];
            source.cmd(args);
        }
    }

    /// The slot has arrived.
    pub(crate) fn end_move(&self, from: usize, to: usize, slot: u16) {
        let target = id(&self.nodes[to]);
        for node in [to, from] {
            self.nodes[node].cmd(["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &target]);
        }
    }
}

fn start_node() -> RedisServer {
    RedisServer::builder()
        .args(["--cluster-enabled", "yes"])
        .args(["--cluster-node-timeout", "1000"])
        .args(["--cluster-replica-validity-factor", "0"])
        .args(["--repl-diskless-sync-delay", "0"])
        .port_for("--cluster-port")
        .start()
}

fn bus_port(node: &RedisServer) -> String {
    let nodes = text(node.cmd(["CLUSTER", "NODES"]));
    let own = nodes
        .lines()
        .find(|line| line.contains("myself"))
        .expect("itself");
    let bus = own.split('@').nth(1).expect("a bus port");
    bus.split([' ', ',']).next().expect("a number").to_owned()
}

/// A node's identity.
pub(crate) fn id(node: &RedisServer) -> String {
    text(node.cmd(["CLUSTER", "MYID"]))
}

fn info(node: &RedisServer, section: &str) -> String {
    text(node.cmd(["INFO", section]))
}

fn text(value: Value) -> String {
    redis::from_redis_value(value).expect("a text")
}

/// One command at one port: its answer, or where to go.
fn attempt<A: AsRef<[u8]>>(port: u16, args: &[A]) -> (Option<Value>, Option<u16>) {
    let url = format!("redis://127.0.0.1:{port}");
    let client = redis::Client::open(url).expect("a url");
    let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(5)) else {
        return (None, None);
    };
    let mut command = redis::Cmd::new();
    args.iter().for_each(|arg| {
        command.arg(arg.as_ref());
    });
    match command.query::<Value>(&mut connection) {
        Ok(value) => (Some(value), None),
        Err(error) => match error.redirect_node() {
            Some((address, _)) => {
                let port = address
                    .rsplit(':')
                    .next()
                    .and_then(|port| port.parse().ok());
                if error.code() == Some("ASK") {
                    return ask(port.expect("a port"), &command);
                }
                (None, port)
            }
            None => {
                std::thread::sleep(POLL);
                (None, None)
            }
        },
    }
}

fn ask(port: u16, command: &redis::Cmd) -> (Option<Value>, Option<u16>) {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("a url");
    let Ok(mut connection) = client.get_connection() else {
        return (None, None);
    };
    let asked = redis::cmd("ASKING").query::<()>(&mut connection);
    match asked.and_then(|()| command.query::<Value>(&mut connection)) {
        Ok(value) => (Some(value), None),
        Err(_) => (None, None),
    }
}

/// Waits until something holds.
pub(crate) fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(POLL);
    }
}
