//! What overwrites or removes comes last, is counted before, and is stopped where it is too much.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

mod support;

use std::sync::{Arc, Mutex};

use reknit::app::{Exit, exit_of};
use reknit::model::{DbIndex, Key, Keyspace, Keyspaces, Kind, Op, Selection, State, Value};
use reknit::repair::{Change, Destruction, Fate, Mode, RunError, Scope, Verdict, run};
use reknit::store::{Data, Fault, MemoryReplica, Portions, Step};

use support::reknit::Reknit;
use support::run::{Findings, job, put, replicas, told};
use support::server::RedisServer;

fn value(replica: &MemoryReplica, key: &str) -> Option<String> {
    match replica.client().get(&Key::from(key))?.value {
        Value::String(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
        other => Some(format!("{:?}", other.kind())),
    }
}

/// So many keys on both that differ, and so many that eu lacks.
fn diverged(overwritten: usize, missing: usize, equal: usize) -> [MemoryReplica; 2] {
    let [us, eu] = replicas(["us", "eu"]);
    for number in 0..overwritten {
        put(&us, &format!("both:{number:04}"), "us");
        put(&eu, &format!("both:{number:04}"), "eu");
    }
    for number in 0..missing {
        put(&us, &format!("missing:{number:04}"), "us");
    }
    for number in 0..equal {
        for replica in [&us, &eu] {
            put(replica, &format!("equal:{number:04}"), "same");
        }
    }
    [us, eu]
}

/// The keys that were executed on a replica, in order.
fn watch(replica: &MemoryReplica) -> Arc<Mutex<Vec<Key>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let script = {
        let seen = seen.clone();
        move |step: Step<'_>, _: DbIndex, _: &mut Data| {
            if let Step::ExecuteKey(key) = step {
                seen.lock().unwrap().push(key.clone());
            }
            Fault::None
        }
    };
    replica.set_faults(Some(Box::new(script)));
    seen
}

#[tokio::test]
async fn what_overwrites_comes_behind_all_that_adds() {
    let replicas = diverged(90, 700, 0);
    let seen = watch(&replicas[1]);
    let (summary, _) = told(&job(&replicas, Mode::Repair)).await;
    assert_eq!(summary.verdict("repaired"), 790);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 790);
    let added = seen
        .iter()
        .take_while(|key| key.as_bytes().starts_with(b"missing"));
    assert_eq!(added.count(), 700);
    let planned = summary
        .replicas
        .iter()
        .map(|one| (one.overwrites, one.deletes));
    assert_eq!(planned.collect::<Vec<_>>(), [(0, 0), (90, 0)]);
    assert_eq!(exit_of(&summary, Mode::Repair), Exit::InSync);
}

#[tokio::test]
async fn too_much_is_stopped_before_the_first_is_overwritten() {
    let replicas = diverged(101, 50, 40);
    let (summary, findings) = told(&job(&replicas, Mode::Repair)).await;
    let [tripped] = &summary.tripped[..] else {
        panic!("{:?}", summary.tripped);
    };
    let counts = (tripped.what, tripped.keys, tripped.held, tripped.limit);
    assert_eq!(counts, (Destruction::Overwrite, 101, 141, 100));
    assert_eq!(tripped.replica.0, "eu");
    assert_eq!(summary.verdict("held-back"), 101);
    assert_eq!(summary.verdict("repaired"), 50, "what adds was written");
    assert_eq!(exit_of(&summary, Mode::Repair), Exit::Stopped);
    assert_eq!(summary.replicas[1].written, 50);
    let held_back = findings.of("both:0007");
    assert_eq!(held_back.verdict, Verdict::HeldBack);
    assert_eq!(held_back.rule, Some("lww"));
    assert_eq!(held_back.details.len(), 1);
    let [Change { replica, ops, fate }] = &held_back.changes[..] else {
        panic!("{held_back:?}");
    };
    assert_eq!((&*replica.0, *fate), ("eu", Fate::Planned));
    assert_eq!(ops[..], ["put a string of 2 bytes"]);
    for number in 0..101 {
        let key = format!("both:{number:04}");
        assert_eq!(value(&replicas[1], &key).as_deref(), Some("eu"));
    }
}

#[tokio::test]
async fn what_is_forced_is_overwritten_up_to_its_number() {
    for (forced, verdict) in [(101, "repaired"), (100, "held-back")] {
        let replicas = diverged(101, 0, 0);
        let mut job = job(&replicas, Mode::Repair);
        job.settings.breaker.force_overwrites = forced;
        let (summary, _) = told(&job).await;
        assert_eq!(summary.verdict(verdict), 101, "{forced}");
    }
}

#[tokio::test]
async fn a_dry_run_says_that_a_repair_would_be_stopped() {
    let replicas = diverged(150, 1, 0);
    let (summary, _) = told(&job(&replicas, Mode::Plan)).await;
    assert_eq!(summary.verdict("planned"), 151);
    assert_eq!(summary.tripped[0].keys, 150);
    assert_eq!(exit_of(&summary, Mode::Plan), Exit::Diverged);
    let (summary, _) = told(&job(&replicas, Mode::Diff)).await;
    assert!(summary.tripped.is_empty());
}

#[tokio::test]
async fn what_was_written_while_a_key_waited_is_looked_at_afresh() {
    let replicas = diverged(3, 1, 0);
    // With the first addition, a client writes to both keys that wait, and makes another equal.
    let others = replicas.clone();
    let mut done = false;
    replicas[1].set_faults(Some(Box::new(
        move |step: Step<'_>, db: DbIndex, data: &mut Data| {
            if matches!(step, Step::ExecuteKey(_)) && !done {
                done = true;
                let new = |text: &'static str| Op::Put(Value::String(text.into()));
                put(&others[0], "both:0000", "newer");
                data.apply(db, &Key::from("both:0001"), &new("us")).unwrap();
            }
            Fault::None
        },
    )));
    let (summary, findings) = told(&job(&replicas, Mode::Repair)).await;
    assert_eq!(value(&replicas[1], "both:0000").as_deref(), Some("newer"));
    assert_eq!(findings.of("both:0000").verdict, Verdict::Repaired);
    assert_eq!(summary.in_flight, 1, "the one that a client made equal");
    assert_eq!(findings.of("both:0002").verdict, Verdict::Repaired);
}

#[tokio::test]
async fn an_interrupted_run_names_what_waited_and_overwrites_nothing() {
    let replicas = diverged(5, 1, 0);
    let job = job(&replicas, Mode::Repair);
    let stop = job.stop.clone();
    replicas[1].set_faults(Some(Box::new(
        move |step: Step<'_>, _: DbIndex, _: &mut Data| {
            if matches!(step, Step::ExecuteKey(_)) {
                stop.cancel();
            }
            Fault::None
        },
    )));
    let (summary, findings) = told(&job).await;
    assert!(summary.interrupted);
    for number in 0..5 {
        let key = format!("both:{number:04}");
        assert_eq!(findings.of(&key).verdict.name(), "unfinished");
        assert_eq!(value(&replicas[1], &key).as_deref(), Some("eu"));
    }
}

/// The first database is compared; in the second, a replica is lost and none is left to compare with.
#[tokio::test]
async fn a_run_that_ends_in_trouble_names_what_waited() {
    let replicas = diverged(3, 1, 0);
    let first = Keyspace {
        db: Some(DbIndex(0)),
        ..Keyspace::everything()
    };
    let second = Keyspace {
        db: Some(DbIndex(1)),
        ..first.clone()
    };
    let mut job = job(&replicas, Mode::Repair);
    job.scope = Scope::new(Keyspaces::new(vec![first, second]), Selection::default());
    replicas[1].set_faults(Some(Box::new(
        |step: Step<'_>, db: DbIndex, _: &mut Data| {
            if step == Step::ScanPage && db == DbIndex(1) {
                return Fault::Disconnect;
            }
            Fault::None
        },
    )));
    let mut findings = Findings::default();
    let ended = run(&job, &mut findings).await;
    assert!(matches!(ended, Err(RunError::TooFew(_))));
    assert_eq!(findings.of("missing:0000").verdict, Verdict::Repaired);
    for number in 0..3 {
        let key = format!("both:{number:04}");
        assert_eq!(findings.of(&key).verdict.name(), "unfinished");
        assert_eq!(value(&replicas[1], &key).as_deref(), Some("eu"));
    }
}

fn hash(pairs: impl IntoIterator<Item = (String, String)>) -> State {
    let fields = pairs.into_iter().map(|(name, value)| {
        let value = reknit::model::Field::lasting(bytes::Bytes::from(value));
        (bytes::Bytes::from(name), value)
    });
    State::lasting(Value::Hash(fields.collect()))
}

/// The differing fields are written 512 at a time: those that only add first, those with the changed one at the end.
#[tokio::test]
async fn of_a_large_collection_what_adds_is_written_and_what_overwrites_waits() {
    let [us, eu] = replicas(["us", "eu"]);
    for replica in [&us, &eu] {
        replica.set_portions(Portions {
            whole_elements: 10,
            page_elements: 5,
            ..Portions::default()
        });
    }
    let field = |number: usize, value: &str| (format!("f{number:04}"), value.to_owned());
    let whole = (0..1500).map(|number| field(number, "us"));
    let key = Key::from("big");
    us.client().set_state(&key, Some(hash(whole)));
    eu.client().set_state(&key, Some(hash([field(7, "eu")])));
    let key_of_another = Key::from("list");
    for (replica, value) in [(&us, "us"), (&eu, "eu")] {
        let list = vec![value.to_owned().into(); 20];
        let state = State::lasting(Value::List(list));
        replica.client().set_state(&key_of_another, Some(state));
    }
    let replicas = [us, eu];
    let (summary, findings) = told(&job(&replicas, Mode::Repair)).await;
    assert_eq!(summary.verdict("repaired"), 2);
    assert_eq!(summary.replicas[1].overwrites, 2);
    let big = findings.of("big");
    let [change] = &big.changes[..] else {
        panic!("{big:?}");
    };
    assert_eq!(change.fate, Fate::Applied);
    assert_eq!(findings.of("list").kind(), Some(Kind::List));
    let states = replicas.each_ref().map(|one| one.client().get(&key));
    assert_eq!(states[0], states[1]);
}

#[test]
fn the_command_line_stops_with_its_counts_and_goes_on_when_forced() {
    let (one, other) = (RedisServer::start(), RedisServer::start());
    for number in 0..150 {
        one.cmd(["SET", &format!("k{number}"), "one"]);
        other.cmd(["SET", &format!("k{number}"), "other"]);
    }
    one.cmd(["SET", "missing", "one"]);
    let repair = |args: &[&str]| {
        Reknit::over("repair", &[&one, &other])
            .args(["--settle", "10ms"])
            .args(args.iter().copied())
            .run()
    };
    let stopped = repair(&[]);
    stopped.assert_code(4);
    let said = "STOPPED: 150 of the 150 keys that r2 holds were to be overwritten, 100 are allowed";
    assert!(stopped.stdout.contains(said), "{}", stopped.stdout);
    assert!(stopped.stdout.contains("--force-overwrites 150"));
    let value = |key: &str| {
        let mut client = other.client();
        redis::cmd("GET")
            .arg(key)
            .query::<String>(&mut client)
            .unwrap()
    };
    assert_eq!(
        (value("missing"), value("k7")),
        ("one".into(), "other".into())
    );
    let json = repair(&["--format", "json"]);
    json.assert_code(4);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let tripped = &report["summary"]["tripped"][0];
    assert_eq!(
        (&tripped["what"], &tripped["keys"]),
        (&"overwrite".into(), &150.into())
    );
    repair(&["--force-overwrites", "0"]).assert_code(2);
    repair(&["--force-overwrites", "149"]).assert_code(4);
    repair(&["--force-overwrites", "150"]).assert_code(0);
    assert_eq!(value("k7"), "one");
}
