//! A large database is worked on in segments, on real servers: whatever cuts a run off, what it has finished is not read
//! again, and the runs together come to what one that is never disturbed comes to.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(clippy::disallowed_methods)] // it waits in real time

mod service_support;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::Value;
use reknit::app::open_for_service;
use reknit::clock::Clock;
use reknit::config::Config;
use reknit::daemon::board::{Card, RunState};
use reknit::daemon::desk::Desk;
use reknit::daemon::http::keys::Keys;
use reknit::daemon::notify::Notifier;
use reknit::daemon::segments::Patience;
use reknit::daemon::service::{Service, Setup};
use reknit::model::Millis;
use service_support::{Daemon, Place};
use support::server::RedisServer;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const KEYS: usize = 6000;

/// Four seconds at this rate, in segments of a second.
const SLOW: &str = "limits: { keys_per_second: 1500, segment: 1s }\n\
                    keyspaces: [{ name: all, rules: { string: counter } }]\n";

const DAILY: &str = "schedules: [{ name: daily, every: 1d }]\n";

/// The most that one interruption may make be read again: a segment, and what the limit lets through at once.
const AGAIN: usize = KEYS / 3;

/// Two servers, alike but for some keys: one added, one deleted and one changed at either.
fn diverged(rest: &str) -> Place {
    let place = Place::new(2, rest);
    place.fill(0, KEYS);
    let once = "limits: {}\nkeyspaces: [{ name: all, rules: { string: counter } }]\n";
    place.configure(once);
    let repaired = support::reknit::Reknit::new(["repair", "--settle", "0s", "--config"]);
    repaired.args([place.config()]).run().assert_code(0);
    place.configure(rest);
    for (at, server) in place.servers.iter().enumerate() {
        let mut client = server.client();
        let mut pipe = redis::pipe();
        for number in (at..200).step_by(2) {
            pipe.cmd("SET").arg(format!("new:{number}")).arg(number);
            pipe.cmd("DEL").arg(format!("k:{number}"));
            pipe.cmd("INCRBY")
                .arg(format!("k:{}", number + 1000))
                .arg(7);
        }
        pipe.exec(&mut client).unwrap();
        server.cmd(["CONFIG", "RESETSTAT"]);
    }
    place
}

/// What every run over these servers comes to.
#[track_caller]
fn assert_in_sync(place: &Place) {
    let mut expected: BTreeMap<String, String> = (200..KEYS)
        .map(|number| {
            let grown = (1000..1200).contains(&number);
            let value = if grown { number + 7 } else { number };
            (format!("k:{number}"), value.to_string())
        })
        .collect();
    expected.extend((0..200).map(|number| (format!("new:{number}"), number.to_string())));
    for server in &place.servers {
        assert!(held(server) == expected, "{}", server.url());
    }
}

fn held(server: &RedisServer) -> BTreeMap<String, String> {
    let mut client = server.client();
    let mut names: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client).unwrap();
    names.retain(|name| !name.starts_with("reknit:"));
    let values: Vec<String> = redis::cmd("MGET").arg(&names).query(&mut client).unwrap();
    names.into_iter().zip(values).collect()
}

/// How many strings have been read of a server.
fn reads(server: &RedisServer) -> usize {
    let told = server.cmd(["INFO", "commandstats"]);
    let text = match told {
        Value::VerbatimString { text, .. } => text,
        other => redis::from_redis_value(other).unwrap(),
    };
    let calls = |line: &str| Some(line.split_once("cmdstat_getrange:calls=")?.1.to_owned());
    let calls = text.lines().find_map(calls);
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

/// What the reading of all keys takes, and the second looks at those that differ.
fn assert_reads(place: &Place, interruptions: usize) {
    let reads = reads(&place.servers[1]);
    let most = KEYS + 1500 + interruptions * AGAIN;
    assert!((KEYS..most).contains(&reads), "{reads} reads");
}

fn segments_done(daemon: &Daemon, run: u64) -> u64 {
    let work = &daemon.run(run)["work"]["segments"];
    work["done"].as_u64().unwrap_or(0)
}

/// Cut off twice by a signal, each time when it has finished another segment.
fn cut_off_by(signal: &str) {
    let place = diverged(&format!("{DAILY}{SLOW}"));
    for run in [2, 3] {
        let daemon = place.start();
        // The finished ones of the run before are done at once.
        let finished = if run == 2 { 1 } else { 2 };
        daemon.until("another segment is finished", |daemon| {
            (segments_done(daemon, run) >= finished).then_some(())
        });
        daemon.process.signal(signal);
        daemon.process.finish();
    }
    let daemon = place.start();
    let run = daemon.ended(4);
    assert_eq!(run["state"], "done", "{run}");
    assert_eq!(run["work"]["segments"]["open"], 0, "{run}");
    assert_in_sync(&place);
    assert_reads(&place, 2);
    let status = daemon.json("/api/v1/status");
    assert!(
        status["schedules"][0]["last_success_ms"].is_i64(),
        "{status}"
    );
    // All segments together saw all keys: one that appears on both between two runs was on neither.
    place.servers[0].cmd(["SET", "late", "3"]);
    place.servers[1].cmd(["SET", "late", "4"]);
    daemon.post("/api/v1/limits", r#"{"keys_per_second": 0}"#);
    let id = daemon.begin("{}");
    assert_eq!(daemon.ended(id)["state"], "done");
    assert_eq!(place.get(0, "late").as_deref(), Some("7"));
}

#[test]
fn killed_in_the_middle_of_a_database_it_goes_on_behind_the_segments_that_are_finished() {
    cut_off_by("KILL");
}

#[test]
fn ended_in_the_middle_of_a_database_it_goes_on_behind_the_segments_that_are_finished() {
    cut_off_by("TERM");
}

/// A clock that stands until the test moves it; whoever sleeps wakes then.
struct HandClock(watch::Sender<i64>);

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Millis {
        Millis(*self.0.borrow())
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.now().plus(duration).0;
        let _ = self.0.subscribe().wait_for(|now| *now >= until).await;
    }
}

impl HandClock {
    fn advance(&self, hours: i64) {
        self.0.send_modify(|now| *now += hours * 3_600_000);
    }
}

/// A service in this process, by a clock in the test's hand.
struct Inside {
    desk: Arc<Desk>,
    clock: Arc<HandClock>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<reknit::app::Exit>,
}

impl Inside {
    /// At one in the morning of a day.
    async fn new(place: &Place) -> Self {
        let config = Config::from_file(&place.config(), None).unwrap();
        let one_in_the_morning = 1_767_229_200_000;
        let clock = Arc::new(HandClock(watch::Sender::new(one_in_the_morning)));
        let memory = open_for_service(&config, "http://127.0.0.1:1", &*clock).unwrap();
        let keys = Keys::read(&config.http).await.unwrap();
        let service = Service::new(Setup {
            url: String::new(),
            keys,
            config: Arc::new(config),
            load: Box::new(|| Err("it is not read anew".into())),
            memory,
            clock: clock.clone(),
            patience: Patience::default(),
            notifier: Notifier::from_environment().unwrap(),
        });
        let service = service.unwrap();
        let (desk, stop) = (service.desk(), CancellationToken::new());
        let (_never, reload) = mpsc::channel(1);
        let serving = tokio::spawn(service.serve(stop.clone(), reload));
        Self {
            desk,
            clock,
            stop,
            serving,
        }
    }

    async fn until(&self, what: &str, holds: impl Fn(&[Arc<Card>]) -> bool) {
        let begun = Instant::now();
        while !holds(&self.desk.cards()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "in vain: {what}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_database_that_takes_longer_than_its_window_is_done_over_several() {
    let nightly = "schedules: [{ name: nightly, every: 1d, window: \"01:00-02:00\" }]\n";
    let place = diverged(&format!("{nightly}{SLOW}"));
    let service = Inside::new(&place).await;
    let mut finished = 0;
    let mut windows = 0;
    loop {
        let has_more = |card: &Arc<Card>| card.standing().segments.done > finished;
        service
            .until("the window makes progress, or the run is done", |cards| {
                let card = cards.get(windows);
                card.is_some_and(|card| has_more(card) || card.state() == RunState::Done)
            })
            .await;
        let card = service.desk.cards()[windows].clone();
        if windows >= 2 || card.state() == RunState::Done {
            break;
        }
        finished = card.standing().segments.done;
        service.clock.advance(1);
        service
            .until("it is over", |_| card.state().is_ended())
            .await;
        let standing = card.standing();
        assert_eq!(standing.state, RunState::Stopped);
        let note = standing.trouble.unwrap();
        assert_eq!(note, "its window closed: it goes on in the next one");
        windows += 1;
        service.clock.advance(23);
    }
    assert_eq!(windows, 2, "the run took several windows");
    let last = service.desk.cards()[2].clone();
    service
        .until("it is done", |_| last.state().is_ended())
        .await;
    let standing = last.standing();
    assert_eq!(standing.state, RunState::Done, "{:?}", standing.trouble);
    assert!(standing.summary.unwrap().resumed.unwrap().finished >= 2);
    assert_in_sync(&place);
    assert_reads(&place, 2);
    service.stop.cancel();
    service.serving.await.unwrap();
}
