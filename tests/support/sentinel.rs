//! A master that sentinels watch over.

use super::cluster::wait;
use super::server::RedisServer;

/// A master, a replica of it, and three sentinels.
pub(crate) struct Watched {
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: [RedisServer; 3],
}

impl Watched {
    pub(crate) fn start() -> Self {
        let fast = || RedisServer::builder().args(["--repl-diskless-sync-delay", "0"]);
        let master = fast().start();
        let replica = fast().start();
        replica.cmd(["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
        let port = master.port();
        let sentinels = [(); 3].map(|()| {
            RedisServer::builder()
                .line(&format!("sentinel monitor main 127.0.0.1 {port} 2"))
                .line("sentinel down-after-milliseconds main 500")
                .line("sentinel failover-timeout main 3000")
                .args(["--sentinel"])
                .start()
        });
        let watched = Self {
            servers: [master, replica],
            sentinels,
        };
        wait("the sentinels know all", || {
            watched.sentinels.iter().all(|sentinel| {
                let text = format!("{:?}", sentinel.cmd(["SENTINEL", "MASTER", "main"]));
                text.contains(r#"bulk-string('"num-slaves"'), bulk-string('"1"')"#)
                    && text.contains(r#"bulk-string('"num-other-sentinels"'), bulk-string('"2"')"#)
            })
        });
        wait("the replica follows", || {
            let info = watched.servers[1].cmd(["INFO", "replication"]);
            let text: String = redis::from_redis_value(info).expect("text");
            text.contains("master_link_status:up")
        });
        watched
    }

    /// Where the sentinels are: hosts and ports.
    pub(crate) fn sentinels(&self) -> String {
        let ports = self.sentinels.iter();
        let ports: Vec<String> = ports
            .map(|one| format!("127.0.0.1:{}", one.port()))
            .collect();
        ports.join(",")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://{}/main/0", self.sentinels())
    }
}

/// A master that wants a password, and a sentinel that wants another, and knows a user beside.
pub(crate) struct Guarded {
    pub(crate) master: RedisServer,
    sentinel: RedisServer,
}

impl Guarded {
    /// The user of the master is `reknit` with `of-data`; the sentinel's password is `of-sentinels`, and it has a user
    /// `watcher` with `of-watcher`, who may do no more than the page about topologies says.
    pub(crate) fn start(watcher: &str) -> Self {
        let master = RedisServer::builder()
            .line("user reknit on >of-data ~* &* +@all")
            .start();
        let sentinel = RedisServer::builder()
            .line(&format!(
                "sentinel monitor main 127.0.0.1 {} 1",
                master.port()
            ))
            .line(&format!("user watcher on >of-watcher {watcher}"))
            .line("requirepass of-sentinels")
            .args(["--sentinel"])
            .start();
        Self { master, sentinel }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.sentinel.port())
    }
}
