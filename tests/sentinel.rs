//! A master that sentinels watch over: found through them, and followed through a failover.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use support::cluster::wait;
use support::reknit::Reknit;
use support::sentinel::Watched;
use support::server::RedisServer;

#[test]
fn the_master_is_found_and_followed_through_a_failover() {
    let (plain, mut watched) = (RedisServer::start(), Watched::start());
    let mut client = plain.client();
    for number in 0..3000 {
        let key = format!("key:{number}");
        redis::cmd("SET")
            .arg(&key)
            .arg("v")
            .exec(&mut client)
            .unwrap();
    }
    watched.servers[0].cmd(["SET", "theirs", "v"]);
    watched.servers[0].cmd(["WAIT", "1", "5000"]);
    let replicas = [
        format!("us={}", plain.url()),
        format!("eu={}", watched.url()),
    ];
    let [us, eu] = &replicas;
    let repair = || Reknit::new(["repair", "--replica", us, "--replica", eu]);
    let running = repair().args(["--keys-per-second", "1500"]).spawn();
    wait("it has begun to write", || {
        watched.servers[0].cmd(["DBSIZE"]) != redis::Value::Int(1)
    });
    watched.servers[0].kill();
    let outcome = running.finish();
    assert!(matches!(outcome.code(), Some(0 | 1)), "{outcome}");
    repair().run().assert_code(0);
    assert_eq!(watched.servers[1].cmd(["DBSIZE"]), redis::Value::Int(3001));
    assert_eq!(plain.cmd(["DBSIZE"]), redis::Value::Int(3001));
}

#[test]
fn sentinels_that_know_no_such_master_are_named() {
    let (plain, watched) = (RedisServer::start(), Watched::start());
    let replicas = [
        format!("us={}", plain.url()),
        format!("eu={}", watched.url().replace("/main/", "/other/")),
    ];
    let [us, eu] = &replicas;
    let outcome = Reknit::new(["diff", "--replica", us, "--replica", eu]).run();
    let words = "knows no master `other`";
    assert!(outcome.assert_code(2).stderr.contains(words), "{outcome}");
}
