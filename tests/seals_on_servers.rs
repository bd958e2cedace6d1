//! Seals and counters where only a real server can tell: permissions, memory, connections, clients at full speed.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod seal_support;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use reknit::model::{Expect, Expiry, Key, Marker, Op, Write};
use reknit::store::{Access, Deployment, Replica, Sealing, StoreError, WriteOutcome, acl_rule};

use seal_support::{
    Ground, OTHER, Server, after, count, first, found, is_fenced, lane, marker, put, run, secret,
    write, write_all,
};
use support::proxy::Trap;
use support::server::RedisServer;

use WriteOutcome::{Applied, Contended, Refused};

const PASSWORD: &str = "secret";
/// How often reknit increases a counter that clients increase all the time.
const INCREASES: u64 = 300;
const CLIENTS: usize = 2;

/// Increments a key until told to stop; answers how often.
fn hammer(server: &RedisServer, stop: &Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    let (mut client, stop) = (server.client(), Arc::clone(stop));
    thread::spawn(move || {
        let mut increments = 0;
        while !stop.load(Ordering::Relaxed) {
            redis::cmd("INCR").arg("n").exec(&mut client).unwrap();
            increments += 1;
        }
        increments
    })
}

#[test]
fn a_counter_that_clients_increase_all_the_time_ends_at_the_exact_sum() {
    let ground = Server::new();
    ground.set(0, "n", "1000");
    let stop = Arc::new(AtomicBool::new(false));
    let clients = [(); CLIENTS].map(|()| hammer(&ground.server, &stop));
    let mut set = write_all(&ground, &[], &first(1));
    for step in 0..INCREASES {
        let writes = [count("n", 7, Expiry::Never)];
        set = write_all(&ground, &writes, &after(set, 2 + step));
    }
    stop.store(true, Ordering::Relaxed);
    let theirs: u64 = clients.map(|client| client.join().unwrap()).iter().sum();
    assert!(theirs > INCREASES, "the clients were slow: {theirs}");
    let sum = 1000 + 7 * INCREASES + theirs;
    assert_eq!(ground.text(0, "n"), Some(sum.to_string()));
}

/// A server with a user that has one rule, and one that has another.
fn as_user(rule: &str) -> Server {
    let line = format!("user repairer on >{PASSWORD} {rule}");
    let server = RedisServer::builder().line(&line).start();
    Server::over(server, Some(("repairer", PASSWORD)))
}

fn rule(access: Access) -> String {
    let ground = Server::new();
    acl_rule(&run(ground.redis.facts()).unwrap(), access)
}

#[test]
fn the_printed_rule_is_enough_for_seals_and_counters() {
    let ground = as_user(&rule(Access::Count));
    let facts = run(ground.redis.facts()).unwrap();
    let refusals = run(ground.redis.rehearse(&facts, Access::Count)).unwrap();
    assert_eq!(refusals, []);
    ground.set(0, "n", "1");
    let mut counting = count("n", 2, Expiry::Never);
    counting.ops.push(Op::Expire(seal_support::END));
    let set = write_all(&ground, &[put("a", None, "1"), counting], &first(5));
    assert_eq!(
        run(ground.redis.fence(None, &lane(), OTHER, set.run)).unwrap(),
        Some(set)
    );
    assert_eq!(run(ground.redis.states(None)).unwrap().len(), 1);
    let dumped = run(ground.redis.dump(None, &[Key::from("a")])).unwrap();
    assert!(dumped[0].is_some());
    assert_eq!(ground.text(0, "n").as_deref(), Some("3"));
}

#[test]
fn without_scripts_a_counter_is_refused_and_everything_else_can_be_written() {
    let ground = as_user(&rule(Access::Write));
    let facts = run(ground.redis.facts()).unwrap();
    assert_eq!(
        run(ground.redis.rehearse(&facts, Access::Write)).unwrap(),
        []
    );
    let refusals = run(ground.redis.rehearse(&facts, Access::Count)).unwrap();
    let names: Vec<_> = refusals
        .iter()
        .map(|one| (one.command, one.access))
        .collect();
    assert_eq!(names, [("eval", Access::Count)]);
    ground.set(0, "n", "1");
    let writes = [put("a", None, "1"), count("n", 2, Expiry::Never)];
    let written = write(&ground, &writes, &first(5)).unwrap();
    let says = |outcome: &WriteOutcome| matches!(outcome, Refused(words) if words.contains("NOPERM") && words.contains("+eval"));
    assert_eq!(written.outcomes[0], Contended);
    assert!(says(&written.outcomes[1]), "{written:?}");
    assert_eq!((written.sealing, found(&ground)), (Sealing::Unset, None));
    write_all(&ground, &writes[..1], &first(5));
    let unsealed = run(ground.redis.write(None, &writes[1..], &secret(), None)).unwrap();
    assert!(says(&unsealed.outcomes[0]), "{unsealed:?}");
    assert_eq!(ground.text(0, "n").as_deref(), Some("1"));
}

#[test]
fn a_server_without_memory_refuses_all_or_nothing() {
    let ground = Server::new();
    ground.set(0, "n", "1");
    ground.set(0, "gone", "x");
    let set = write_all(&ground, &[], &first(5));
    ground.client(&["CONFIG", "SET", "maxmemory", "1"]);
    let mut remove = put("gone", Some("x"), "");
    remove.ops = vec![Op::Remove];
    let refused =
        |outcome: &WriteOutcome| matches!(outcome, Refused(words) if words.contains("OOM"));
    for writes in [
        vec![count("n", 1, Expiry::Never)],
        vec![remove, count("n", 1, Expiry::Never)],
    ] {
        let written = write(&ground, &writes, &after(set, 6)).unwrap();
        assert!(written.outcomes.iter().all(refused), "{written:?}");
        assert_eq!(written.sealing, Sealing::Unset);
    }
    let alone = write(&ground, &[], &after(set, 6));
    assert!(
        matches!(alone, Err(StoreError::Refused { .. })),
        "{alone:?}"
    );
    let unsealed = [count("n", 1, Expiry::Never)];
    let unsealed = run(ground.redis.write(None, &unsealed, &secret(), None)).unwrap();
    assert!(refused(&unsealed.outcomes[0]), "{unsealed:?}");
    assert_eq!(ground.text(0, "n").as_deref(), Some("1"));
    assert_eq!(ground.text(0, "gone").as_deref(), Some("x"));
    assert_eq!(found(&ground), Some(set));
    ground.client(&["CONFIG", "SET", "maxmemory", "0"]);
    write_all(&ground, &[count("n", 1, Expiry::Never)], &after(set, 6));
}

#[test]
fn an_operation_that_fails_inside_of_exec_was_in_the_transaction_all_the_same() {
    let ground = Server::new();
    ground.set(0, "text", "x");
    let mut wrong = put("text", Some("x"), "");
    wrong.ops = vec![Op::AddMembers(vec!["m".into()])];
    let written = write(&ground, &[wrong, put("a", None, "1")], &first(5)).unwrap();
    let [Refused(words), Applied] = &written.outcomes[..] else {
        panic!("{written:?}");
    };
    assert!(words.starts_with("WRONGTYPE"));
    let set = Marker {
        written: 0b11,
        ..marker(5)
    };
    assert_eq!(
        (written.sealing, found(&ground)),
        (Sealing::Set(set), Some(set))
    );
}

#[test]
fn a_key_that_may_not_be_written_is_named_and_the_others_can_be_tried_again() {
    let ground = as_user(&format!(
        "{} resetkeys %R~* ~reknit:* ~a*",
        rule(Access::Count)
    ));
    let writes = [
        put("a1", None, "1"),
        put("b", None, "2"),
        put("a2", None, "3"),
    ];
    let written = write(&ground, &writes, &first(5)).unwrap();
    assert!(matches!(&written.outcomes[1], Refused(words) if words.contains("NOPERM")));
    assert_eq!(
        (&written.outcomes[0], &written.outcomes[2]),
        (&Contended, &Contended)
    );
    assert_eq!(found(&ground), None);
    let rest = [writes[0].clone(), writes[2].clone()];
    assert_eq!(write_all(&ground, &rest, &first(5)).written, 0b11);
}

#[test]
fn a_new_connection_compares_the_marker_again() {
    let ground = Server::new();
    let set = write_all(&ground, &[], &first(5));
    let taken = Marker {
        owner: OTHER,
        ..set
    };
    let (server, text) = (Arc::clone(&ground.server), taken.encode());
    ground.proxy.arm(Trap::CutAtWatch(Box::new(move || {
        server.cmd(["SET", &lane().to_string(), &text]);
    })));
    let written = write(&ground, &[put("a", None, "1")], &after(set, 6));
    assert!(is_fenced(written, Some(taken)));
    assert_eq!(ground.text(0, "a"), None);
    // Where nobody took it over meanwhile, the write goes on.
    ground.proxy.arm(Trap::CutAtWatch(Box::new(|| {})));
    write_all(&ground, &[put("a", None, "1")], &after(taken, 6));
}

#[test]
fn a_server_that_restarts_with_old_data_fences_and_is_told_by_its_facts() {
    let mut server = RedisServer::start();
    server.cmd(["SET", "a", "old"]);
    server.cmd(["SAVE"]);
    let facts = |ground: &Server| run(ground.redis.facts()).unwrap();
    let ground = Server::over(server, None);
    let before = facts(&ground);
    let set = write_all(&ground, &[put("a", Some("old"), "new")], &first(5));
    let Server { server: held, .. } = ground;
    server = Arc::into_inner(held).unwrap();
    server.restart();
    let ground = Server::over(server, None);
    let written = write(&ground, &[put("a", Some("old"), "again")], &after(set, 6));
    assert!(is_fenced(written, None));
    assert_eq!(ground.text(0, "a").as_deref(), Some("old"));
    let now = facts(&ground);
    assert_ne!(before.run_id, now.run_id);
    assert!(!now.replication_id.is_empty() && before.replication_id != now.replication_id);
}

#[test]
fn a_stream_with_groups_comes_back_whole_from_its_dump() {
    let ground = Server::new();
    ground.client(&["XADD", "s", "1-1", "f", "v"]);
    ground.client(&["XADD", "s", "2-1", "f", "v"]);
    ground.client(&["XGROUP", "CREATE", "s", "g", "0"]);
    ground.client(&[
        "XREADGROUP",
        "GROUP",
        "g",
        "c",
        "COUNT",
        "1",
        "STREAMS",
        "s",
        ">",
    ]);
    let pending = ground.client(&["XPENDING", "s", "g"]);
    let keys = [Key::from("s")];
    let (payload, expiry) = run(ground.redis.dump(None, &keys)).unwrap()[0]
        .clone()
        .unwrap();
    ground.client(&["DEL", "s"]);
    let back = Write {
        key: Key::from("s"),
        expect: Expect::Absent,
        ops: vec![Op::Restore(payload), Op::Expire(expiry)],
    };
    write_all(&ground, &[back], &first(5));
    assert_eq!(ground.client(&["XPENDING", "s", "g"]), pending);
}
