//! Everything is read from a server that follows, unless that lags or is lost; writes go to the master.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use support::cluster::wait;
use support::reknit::Reknit;
use support::server::RedisServer;

/// How often a server was asked for names.
fn scans(server: &RedisServer) -> u64 {
    let info: String = redis::from_redis_value(server.cmd(["INFO", "commandstats"])).unwrap();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_scan:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn a_server_that_follows_is_read_and_its_master_written() {
    let (us, master) = (RedisServer::start(), RedisServer::start());
    let fast = ["--repl-diskless-sync-delay", "0"];
    let mut follower = RedisServer::builder().args(fast).start();
    follower.cmd(["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    wait("it follows", || {
        let info = master.cmd(["INFO", "replication"]);
        let text: String = redis::from_redis_value(info).unwrap();
        text.contains("state=online")
    });
    us.cmd(["SET", "a", "1"]);
    master.cmd(["SET", "b", "2"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reknit.yaml");
    let text = format!(
        "replicas:\n- {{ name: us, url: \"{}\" }}\n- {{ name: eu, url: \"{}\", read_from: replica }}\n\
         state: none\nguards: {{ settle: 10ms }}\n",
        us.url(),
        master.url()
    );
    std::fs::write(&file, text).unwrap();
    let repair = || Reknit::new(["repair", "-c", file.to_str().unwrap()]).run();
    repair().assert_code(0);
    assert_eq!(master.cmd(["DBSIZE"]), redis::Value::Int(2));
    assert!(scans(&follower) > 0);
    let before = scans(&master);
    follower.kill();
    wait("its master notices", || {
        let info = master.cmd(["INFO", "replication"]);
        let text: String = redis::from_redis_value(info).unwrap();
        text.contains("connected_slaves:0")
    });
    let outcome = repair();
    let told = &outcome.assert_code(0).stderr;
    assert!(told.contains("no server follows it"), "{outcome}");
    assert!(scans(&master) > before);
}
