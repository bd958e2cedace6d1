//! How gently: limits kept to the byte, changed and paused on a live run, and nodes that are not well waited for by name.

#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should
#![allow(clippy::disallowed_methods)] // real time is measured here

mod support;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reknit::clock::{Clock, ManualClock, SystemClock};
use reknit::model::{DbIndex, Intensity, Millis, ReplicaName};
use reknit::repair::{Mode, Rates, Reason, Run, RunError, Summary, Throttle, run};
use reknit::store::{Connecting, Data, Endpoint, Fault, Health, MemoryReplica, RedisReplica};
use reknit::store::{Replica, Role, Step};

use support::generate;
use support::proxy::Proxy;
use support::run::{NOW, Nobody, put, replicas, run_over};
use support::server::RedisServer;

/// Looks so often that a test need not wait for them.
const OFTEN: Duration = Duration::from_millis(20);

/// How long something may take to be seen.
const LIMIT: Duration = Duration::from_secs(60);

fn rates(keys: u64, bytes: u64, intensity: f64) -> Rates {
    Rates {
        keys_per_second: NonZeroU64::new(keys),
        bytes_per_second: NonZeroU64::new(bytes),
        intensity: Intensity::new(intensity).unwrap(),
    }
}

/// A diff or repair with this throttle, by the same clock.
fn paced(
    replicas: impl IntoIterator<Item = Arc<dyn Replica>>,
    mode: Mode,
    clock: Arc<dyn Clock>,
    throttle: Throttle,
) -> Run {
    let plain = run_over(replicas, mode, NOW);
    // What the helper made is unlimited, and paces nothing.
    Run {
        participants: throttle.pace(&plain.participants, &plain.stop),
        throttle: Arc::new(throttle),
        clock,
        ..plain
    }
}

fn in_memory(replicas: &[MemoryReplica], mode: Mode, clock: Arc<dyn Clock>, to: Throttle) -> Run {
    let shared = replicas.iter().cloned();
    let shared = shared.map(|one| Arc::new(one) as Arc<dyn Replica>);
    paced(shared, mode, clock, to)
}

fn filled(keys: usize) -> [MemoryReplica; 2] {
    let both = replicas(["us", "eu"]);
    for replica in &both {
        for index in 0..keys {
            put(replica, &format!("key:{index}"), "value");
        }
    }
    both
}

async fn go(job: &Run) -> Result<Summary, RunError> {
    run(job, &mut Nobody).await
}

/// Lets the others work until something is seen.
async fn until(what: &str, seen: impl Fn() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < LIMIT, "never seen: {what}");
        tokio::task::yield_now().await;
    }
}

/// Lets the others work for a while, however long that takes.
async fn a_while() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

fn waited(throttle: &Throttle, replica: &str, reason: Reason) -> Duration {
    let waits = throttle.waits().into_iter();
    let mut of_one = waits.filter(|(name, why, _)| name.0 == replica && *why == reason);
    of_one.next().map_or(Duration::ZERO, |(_, _, time)| time)
}

/// A clock that stands, and on which nobody wakes up by himself.
struct Standing;

#[async_trait]
impl Clock for Standing {
    fn now(&self) -> Millis {
        NOW
    }

    async fn sleep(&self, _duration: Duration) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn reads_and_writes_take_the_time_that_the_limit_says() {
    for (keys_per_second, bytes_per_second) in [(1_000, 0), (0, 20_000)] {
        let [us, eu] = filled(2_000);
        for index in 0..1_000 {
            put(&us, &format!("more:{index}"), "another value");
        }
        let clock = Arc::new(ManualClock::new(NOW));
        let throttle = Throttle::new(clock.clone(), rates(keys_per_second, bytes_per_second, 1.0));
        let job = in_memory(&[us, eu], Mode::Repair, clock.clone(), throttle);
        let summary = go(&job).await.unwrap();
        let seconds = (clock.now().0 - NOW.0) as f64 / 1000.0;
        // The slower of the two says how long it takes; those that read and write in turn wait for one another.
        let moved = |usage: reknit::store::Usage| match bytes_per_second {
            0 => (usage.keys_read + usage.keys_written) as f64 / 1_000.0,
            _ => (usage.bytes_read + usage.bytes_written) as f64 / 20_000.0,
        };
        let asked: Vec<f64> = summary
            .replicas
            .iter()
            .map(|one| moved(one.usage))
            .collect();
        let most = asked.iter().copied().fold(0.0, f64::max);
        assert!(seconds >= most * 0.95, "{seconds} s, asked {asked:?}");
        assert!(
            seconds <= asked.iter().sum::<f64>() * 1.05,
            "{seconds} s, asked {asked:?}"
        );
        assert_eq!(summary.replicas[1].usage.keys_written, 1_000);
    }
}

#[tokio::test]
async fn a_new_limit_holds_at_once_for_what_waits_already() {
    let clock = Arc::new(Standing);
    let throttle = Throttle::new(clock.clone(), rates(1, 0, 1.0));
    let job = in_memory(&filled(500), Mode::Diff, clock, throttle);
    let throttle = &job.throttle;
    let change = async {
        let waits = |reason| (ReplicaName("us".into()), Some(reason));
        until("a wait", || {
            throttle
                .waiting_for()
                .contains(&waits(Reason::KeysPerSecond))
        })
        .await;
        throttle.set(rates(0, 1, 1.0));
        until("another", || {
            throttle
                .waiting_for()
                .contains(&waits(Reason::BytesPerSecond))
        })
        .await;
        throttle.set(Rates::UNLIMITED);
    };
    let (summary, ()) = tokio::join!(go(&job), change);
    assert_eq!(summary.unwrap().total().keys, 500);
    assert_eq!(throttle.rates(), Rates::UNLIMITED);
}

#[tokio::test]
async fn a_paused_run_stops_within_a_page_and_goes_on_where_it_was() {
    let clock = Arc::new(Standing);
    let both = filled(500);
    let throttle = Throttle::new(clock.clone(), Rates::UNLIMITED);
    let job = in_memory(&both, Mode::Diff, clock, throttle);
    let throttle = Arc::clone(&job.throttle);
    let mut keys = 0;
    both[0].set_faults(Some(Box::new(
        move |step: Step<'_>, _: DbIndex, _: &mut Data| {
            keys += usize::from(matches!(step, Step::ReadKey(_)));
            if keys == 25 {
                throttle.pause();
            }
            Fault::None
        },
    )));
    let throttle = &job.throttle;
    let all_wait = || {
        let waiting = throttle.waiting_for();
        waiting.iter().all(|(_, why)| *why == Some(Reason::Paused))
    };
    let switch = async {
        until("a pause", || throttle.is_paused() && all_wait()).await;
        a_while().await;
        assert!(
            both.iter().all(|one| one.usage().keys_read <= 30),
            "a page has ten keys"
        );
        throttle.resume();
    };
    let (summary, ()) = tokio::join!(go(&job), switch);
    assert_eq!(summary.unwrap().total().keys, 500);
    assert!(!throttle.is_paused());
}

#[tokio::test]
async fn a_paused_run_answers_to_stop() {
    let clock = Arc::new(Standing);
    let throttle = Throttle::new(clock.clone(), Rates::UNLIMITED);
    throttle.pause();
    let [us, eu] = filled(100);
    put(&us, "only:us", "value");
    let job = in_memory(&[us, eu.clone()], Mode::Repair, clock, throttle);
    let stop = async {
        a_while().await;
        job.stop.cancel();
    };
    let (summary, ()) = tokio::join!(go(&job), stop);
    assert!(summary.unwrap().interrupted);
    assert_eq!(eu.usage().keys_read + eu.usage().keys_written, 0);
}

#[tokio::test]
async fn a_node_that_is_not_well_is_waited_for_by_its_reason_until_it_is() {
    type Change = fn(&mut Health);
    let table: [(Reason, Change); 4] = [
        (Reason::Loading, |health| health.loading = true),
        (Reason::Saving, |health| {
            (health.saving, health.copied_on_write) = (true, 1 << 30);
        }),
        (Reason::FailingOver, |health| {
            health.role = Role::ReplicaOf("10.0.0.9:6379".into());
        }),
        (Reason::Memory, |health| {
            (health.used_memory, health.max_memory) = (99, 100);
        }),
    ];
    for (reason, change) in table {
        let clock = Arc::new(ManualClock::new(NOW));
        let both = filled(300);
        let sick = both[0].clone();
        let mut keys = 0;
        both[1].set_faults(Some(Box::new(
            move |step: Step<'_>, _: DbIndex, _: &mut Data| {
                keys += usize::from(matches!(step, Step::ReadKey(_)));
                if keys == 25 {
                    sick.change_health(change);
                }
                Fault::None
            },
        )));
        let throttle = Throttle::new(clock.clone(), rates(10, 0, 1.0)).probing(Throttle::PROBING);
        let job = in_memory(&both, Mode::Diff, clock, throttle);
        let throttle = &job.throttle;
        let held = (ReplicaName("us".into()), Some(reason));
        let heal = async {
            until(reason.name(), || throttle.waiting_for().contains(&held)).await;
            let health = throttle.health();
            assert_eq!(health[0].reason, Some(reason));
            assert_eq!(health[1].reason, None);
            both[0].change_health(|health| *health = Health::well(NOW));
        };
        let (summary, ()) = tokio::join!(go(&job), heal);
        assert_eq!(summary.unwrap().total().keys, 300);
        assert!(
            waited(throttle, "us", reason) > Duration::ZERO,
            "{}",
            reason.name()
        );
        assert_eq!(waited(throttle, "eu", reason), Duration::ZERO);
        assert!(throttle.health().is_empty(), "nobody looks any more");
    }
}

#[tokio::test]
async fn clocks_that_differ_are_seen() {
    let clock = Arc::new(ManualClock::new(NOW));
    let both = filled(300);
    both[1].set_now(Millis(NOW.0 + 90_000));
    let throttle = Throttle::new(clock.clone(), rates(100, 0, 1.0)).probing(Throttle::PROBING);
    let job = in_memory(&both, Mode::Diff, clock, throttle);
    let skews = std::sync::Mutex::new(Vec::new());
    let look = async {
        until("two looks", || job.throttle.health().len() == 2).await;
        let health = job.throttle.health();
        skews
            .lock()
            .unwrap()
            .extend(health.iter().map(|one| one.skew_millis));
    };
    let (summary, ()) = tokio::join!(go(&job), look);
    summary.unwrap();
    assert_eq!(*skews.lock().unwrap(), [Some(0), Some(90_000)]);
}

/// A server behind a proxy, as a replica.
fn behind(proxy: &Proxy, name: &str) -> Arc<dyn Replica> {
    let connecting = Connecting {
        endpoint: Endpoint::Tcp {
            host: "127.0.0.1".into(),
            port: proxy.port(),
        },
        username: None,
        password: None,
        tls: None,
        asking: false,
        read_follower: false,
        follower: false,
        db: DbIndex(0),
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(30),
    };
    Arc::new(RedisReplica::new(ReplicaName(name.into()), connecting, 10))
}

/// Two servers with the same keys, behind proxies.
fn served(keys: u64) -> ([RedisServer; 2], [Proxy; 2]) {
    let servers = [(); 2].map(|()| RedisServer::start());
    for server in &servers {
        generate::load(server.port(), keys).unwrap();
    }
    let proxies = servers
        .each_ref()
        .map(|server| Proxy::before(server.port()));
    (servers, proxies)
}

fn on_servers(proxies: &[Proxy; 2], mode: Mode, throttle: Throttle) -> Run {
    let both = [behind(&proxies[0], "us"), behind(&proxies[1], "eu")];
    paced(both, mode, Arc::new(SystemClock), throttle)
}

fn unprobed(rates: Rates) -> Throttle {
    Throttle::new(Arc::new(SystemClock), rates)
}

/// Whether what was counted is what was asked, within a twentieth.
fn assert_close(what: &str, counted: f64, asked: f64) {
    let off = counted / asked - 1.0;
    assert!(
        off.abs() <= 0.05,
        "{what}: {counted:.0} of {asked:.0} asked, {off:+.3}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_per_second_are_those_that_the_server_was_asked_for() {
    let (_servers, proxies) = served(3_000);
    let job = on_servers(&proxies, Mode::Diff, unprobed(rates(1_000, 0, 1.0)));
    let summary = go(&job).await.unwrap();
    for (replica, proxy) in summary.replicas.iter().zip(&proxies) {
        let seconds = proxy.span().as_secs_f64();
        assert_close("keys", replica.usage.keys_read as f64 / seconds, 1_000.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_per_second_are_those_that_the_sockets_counted() {
    let (_servers, proxies) = served(6_000);
    let job = on_servers(&proxies, Mode::Diff, unprobed(rates(0, 500_000, 1.0)));
    let summary = go(&job).await.unwrap();
    for (replica, proxy) in summary.replicas.iter().zip(&proxies) {
        let seconds = proxy.span().as_secs_f64();
        assert!(seconds > 2.0, "enough to measure: {seconds}");
        let counted = proxy.bytes();
        let told = replica.usage.bytes_read + replica.usage.bytes_written;
        assert_close("told and counted", told as f64, counted as f64);
        assert_close("bytes", counted as f64 / seconds, 500_000.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_paced_too() {
    let (servers, proxies) = served(2_000);
    servers[1].cmd(["FLUSHALL"]);
    let job = on_servers(&proxies, Mode::Repair, unprobed(rates(0, 300_000, 1.0)));
    let summary = go(&job).await.unwrap();
    let seconds = proxies[1].span().as_secs_f64();
    assert_eq!(summary.replicas[1].usage.keys_written, 2_000);
    let sent = proxies[1].bytes() as f64;
    assert!(
        sent / seconds <= 300_000.0 * 1.05,
        "{sent} bytes in {seconds} s"
    );
    let waited = waited(&job.throttle, "eu", Reason::BytesPerSecond).as_secs_f64();
    assert!(
        waited > sent / 300_000.0 * 0.5,
        "{waited} s waited, {sent} bytes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn intensity_is_the_share_of_time_that_is_worked() {
    // Work that takes the same time whatever else the machine does: the way.
    for intensity in [0.5, 0.25] {
        let (_servers, proxies) = served(2_000);
        proxies
            .iter()
            .for_each(|proxy| proxy.delay(Duration::from_millis(2)));
        let job = on_servers(&proxies, Mode::Diff, unprobed(rates(0, 0, intensity)));
        go(&job).await.unwrap();
        for (name, proxy) in ["us", "eu"].into_iter().zip(&proxies) {
            let seconds = proxy.span().as_secs_f64();
            let rested = waited(&job.throttle, name, Reason::Intensity).as_secs_f64();
            assert_close(
                "worked, per mille",
                (1.0 - rested / seconds) * 1000.0,
                intensity * 1000.0,
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_then_stalled_then_vanished_node_is_named_by_each_reason() {
    let (_servers, proxies) = served(20_000);
    let throttle = unprobed(rates(2_000, 0, 1.0)).probing(OFTEN);
    let job = on_servers(&proxies, Mode::Diff, throttle);
    let throttle = &job.throttle;
    let reason = |replica: usize| throttle.health().get(replica).map(|one| one.reason);
    let happens = async {
        until("a node that is well", || reason(1) == Some(None)).await;
        proxies[1].delay(Duration::from_millis(40));
        until("latency", || reason(1) == Some(Some(Reason::Latency))).await;
        proxies[1].delay(Duration::ZERO);
        until("recovery", || reason(1) == Some(None)).await;
        proxies[1].stall(true);
        until("unseen", || reason(1) == Some(Some(Reason::Unseen))).await;
        proxies[1].stall(false);
        until("another recovery", || reason(1) == Some(None)).await;
        proxies[1].vanish();
        until("unseen again", || reason(1) == Some(Some(Reason::Unseen))).await;
        assert_eq!(reason(0), Some(None), "the other is well");
    };
    let (ended, ()) = tokio::join!(go(&job), happens);
    let error = ended.expect_err("one of two replicas is lost");
    assert!(
        matches!(&error, RunError::TooFew(words) if words.contains("eu")),
        "{error}"
    );
    assert!(waited(throttle, "eu", Reason::Unseen) > Duration::ZERO);
    assert_eq!(waited(throttle, "us", Reason::Unseen), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_a_server_is_what_it_says() {
    let server = RedisServer::builder()
        .args(["--maxmemory", "100mb"])
        .start();
    let proxy = Proxy::before(server.port());
    let replica = behind(&proxy, "us");
    let health = replica.health().await.unwrap();
    assert_eq!((health.role, health.max_memory), (Role::Master, 100 << 20));
    assert!(health.used_memory > 0 && health.latency > Duration::ZERO);
    assert!(!health.evicts && !health.loading && !health.saving && !health.handing_over);
    assert_eq!(
        replica.usage().bytes_read,
        0,
        "a look is not the run's work"
    );
    server.cmd(["REPLICAOF", "127.0.0.1", "1"]);
    let health = replica.health().await.unwrap();
    assert!(health.link_down && health.role == Role::ReplicaOf("127.0.0.1:1".into()));
}
