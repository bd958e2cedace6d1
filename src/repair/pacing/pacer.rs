//! The pace of one replica: where work waits, and why.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::{Millis, ReplicaName};
use crate::store::Health;

use super::budget::{Budget, Rest, passed};
use super::judge::{Judge, Verdict};
use super::reason::{Reason, Waited};
use super::throttle::Live;
use super::{NodeHealth, Rates};

/// The pace of one replica.
pub(super) struct Pacer {
    pub(super) name: ReplicaName,
    clock: Arc<dyn Clock>,
    live: Arc<Live>,
    book: Mutex<Book>,
    pulse: Mutex<Pulse>,
    pub(super) waited: Waited,
    /// One more than the number of the reason that is waited for now; 0 is none.
    waiting_for: AtomicU8,
}

/// What was done, and is owed.
#[derive(Debug)]
struct Book {
    at: Option<Millis>,
    /// Calls under way that are not waiting.
    working: u32,
    waiting: u32,
    keys: Budget,
    bytes: Budget,
    /// Rest that `limits.intensity` asks for.
    intensity: Rest,
    /// Rest that a slow node is given.
    latency: Rest,
    verdict: Verdict,
}

/// What is known of the node's health.
#[derive(Default)]
struct Pulse {
    judge: Judge,
    latest: Option<NodeHealth>,
}

/// Work under way, from when it may begin to when it is dropped.
pub(super) struct Working<'a>(&'a Pacer);

/// A wait under way.
struct Waiting<'a> {
    pacer: &'a Pacer,
    reason: Reason,
    since: Millis,
}

impl Pacer {
    pub(super) fn new(name: ReplicaName, clock: Arc<dyn Clock>, live: Arc<Live>) -> Self {
        Self {
            name,
            clock,
            live,
            book: Mutex::new(Book {
                at: None,
                working: 0,
                waiting: 0,
                keys: Budget::default(),
                bytes: Budget::default(),
                intensity: Rest::default(),
                latency: Rest::default(),
                verdict: Verdict::WELL,
            }),
            pulse: Mutex::new(Pulse::default()),
            waited: Waited::default(),
            waiting_for: AtomicU8::new(0),
        }
    }

    /// Waits until work may begin. It lasts until the answer is dropped.
    pub(super) async fn begin(&self, stop: &CancellationToken) -> Working<'_> {
        self.wait(stop).await;
        self.settle().working += 1;
        Working(self)
    }

    /// Takes keys and bytes that work under way needs or has moved, and waits until they are paid for and nothing else
    /// stands against going on.
    pub(super) async fn take(&self, keys: u64, bytes: u64, stop: &CancellationToken) {
        let must_wait = {
            let mut book = self.book();
            book.keys.take(keys);
            book.bytes.take(bytes);
            self.due(&mut book).is_some()
        };
        if must_wait {
            self.book().working -= 1;
            let _working = Resumed(self);
            self.wait(stop).await;
        }
    }

    /// Notes bytes that were moved; they are paid for before the next work.
    pub(super) fn moved(&self, bytes: u64) {
        self.book().bytes.take(bytes);
    }

    async fn wait(&self, stop: &CancellationToken) {
        let mut changed = self.live.subscribe();
        while !stop.is_cancelled() {
            changed.borrow_and_update();
            let due = self.due(&mut self.book());
            let Some((reason, wait)) = due else {
                break;
            };
            let _waiting = self.waiting(reason);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // An error says that the throttle is gone, which this pacer holds.
                _ = changed.changed() => {}
                () = self.nap(wait) => {}
            }
        }
        self.waiting_for.store(0, Ordering::Relaxed);
    }

    /// Sleeps; without an end, where only a change can end it.
    async fn nap(&self, wait: Option<Duration>) {
        match wait {
            Some(wait) => self.clock.sleep(wait).await,
            None => std::future::pending().await,
        }
    }

    /// What is to be waited for now, and how long if that is known.
    fn due(&self, book: &mut Book) -> Option<(Reason, Option<Duration>)> {
        let (rates, is_paused) = self.live.setting();
        self.advance(book, &rates);
        if is_paused {
            return Some((Reason::Paused, None));
        }
        if let Some(reason) = book.verdict.hold {
            return Some((reason, None));
        }
        let waits = [
            (Reason::KeysPerSecond, book.keys.wait(rates.keys_per_second)),
            (
                Reason::BytesPerSecond,
                book.bytes.wait(rates.bytes_per_second),
            ),
            (Reason::Latency, book.latency.wait()),
            (Reason::Intensity, book.intensity.wait()),
        ];
        let mut waits = waits.into_iter().filter(|(_, wait)| wait.is_some());
        waits.next()
    }

    fn waiting(&self, reason: Reason) -> Waiting<'_> {
        self.waiting_for.store(reason as u8 + 1, Ordering::Relaxed);
        self.book().waiting += 1;
        Waiting {
            pacer: self,
            reason,
            since: self.clock.now(),
        }
    }

    /// What work waits for at this moment.
    pub(super) fn waiting_for(&self) -> Option<Reason> {
        match self.waiting_for.load(Ordering::Relaxed) {
            0 => self.book().hangs_for(),
            number => Reason::ALL.get(usize::from(number - 1)).copied(),
        }
    }

    /// Takes a look into account; nothing is one that failed.
    pub(super) fn look(&self, health: Option<Health>) {
        let now = self.clock.now();
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = pulse.judge.look(health.as_ref());
        let is_first = pulse.latest.is_none();
        let before = pulse.latest.as_ref().and_then(|latest| latest.reason);
        let skew = health
            .as_ref()
            .map(|seen| seen.time.0 - now.0 + (seen.latency.as_millis() / 2) as i64);
        pulse.latest = Some(NodeHealth {
            replica: self.name.clone(),
            reason: verdict.reason(),
            share: verdict.share,
            baseline: pulse.judge.baseline(),
            skew_millis: skew,
            sample: health,
        });
        drop(pulse);
        self.tell(is_first, before, &verdict);
        self.settle().verdict = verdict;
        self.live.change();
    }

    fn tell(&self, is_first: bool, before: Option<Reason>, verdict: &Verdict) {
        match verdict.reason() {
            reason if reason == before => {}
            // Whoever cannot be reached from the beginning is told of as such.
            Some(Reason::Unseen) if is_first => {
                tracing::debug!(replica = %self.name, "the node cannot be seen");
            }
            Some(Reason::Latency) => {
                tracing::info!(replica = %self.name, reason = "latency", "the node is slow, working less");
            }
            Some(reason) => {
                tracing::warn!(replica = %self.name, reason = reason.name(), "waiting for the node");
            }
            None => tracing::info!(replica = %self.name, "the node is well, going on"),
        }
    }

    /// The latest look.
    pub(super) fn health(&self) -> Option<NodeHealth> {
        let pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.latest.clone()
    }

    /// The node is no longer looked at.
    pub(super) fn look_away(&self) {
        *self.pulse.lock().unwrap_or_else(PoisonError::into_inner) = Pulse::default();
        self.book().verdict = Verdict::WELL;
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accounts for the time until now, before something begins or ends.
    fn settle(&self) -> MutexGuard<'_, Book> {
        let (rates, _) = self.live.setting();
        let mut book = self.book();
        self.advance(&mut book, &rates);
        book
    }

    /// Lets time pass. A call that hangs in a node that is not well waits for that, if not here.
    fn advance(&self, book: &mut Book, rates: &Rates) {
        let millis = book.pass(self.clock.now(), rates);
        if let Some(reason) = book.hangs_for() {
            self.waited.add(reason, millis);
        }
    }
}

impl Book {
    /// Lets time pass; answers how many milliseconds.
    fn pass(&mut self, now: Millis, rates: &Rates) -> i64 {
        let millis = passed(&mut self.at, now);
        self.keys.pass(millis, rates.keys_per_second);
        self.bytes.pass(millis, rates.bytes_per_second);
        let intensity = rates.intensity.get();
        if intensity >= 1.0 {
            self.intensity.forgive();
        }
        if self.verdict.share >= 1.0 {
            self.latency.forgive();
        }
        if self.working > 0 {
            self.intensity.work(millis, 1.0 / intensity - 1.0);
            let share = self.verdict.share;
            self.latency.work(millis, (1.0 / share - 1.0) / intensity);
        } else if self.waiting > 0 {
            // One rest after the other: the share is that of all of them.
            match self.latency.wait() {
                Some(_) => self.latency.rest(millis),
                None => self.intensity.rest(millis),
            }
        }
        millis
    }

    /// What a call that is under way, and not waiting here, is held up by.
    fn hangs_for(&self) -> Option<Reason> {
        self.verdict.hold.filter(|_| self.working > 0)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.settle().working -= 1;
    }
}

/// Work goes on when a wait within it ends, however it ends.
struct Resumed<'a>(&'a Pacer);

impl Drop for Resumed<'_> {
    fn drop(&mut self) {
        self.0.settle().working += 1;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pacer.settle().waiting -= 1;
        let passed = self.pacer.clock.now().0 - self.since.0;
        self.pacer.waited.add(self.reason, passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::model::Intensity;

    const START: Millis = Millis(1_000_000);

    fn pacer(intensity: f64) -> (Arc<ManualClock>, Arc<Pacer>, crate::repair::Throttle) {
        let clock = Arc::new(ManualClock::new(START));
        let rates = Rates {
            intensity: Intensity::new(intensity).unwrap(),
            ..Rates::UNLIMITED
        };
        let throttle = crate::repair::Throttle::new(clock.clone(), rates);
        (clock, throttle.pacer(&ReplicaName("us".into())), throttle)
    }

    /// The share of the time that was worked.
    async fn work(clock: &ManualClock, pacer: &Pacer) -> f64 {
        let stop = CancellationToken::new();
        let begun = clock.now();
        for _ in 0..1_000 {
            let _working = pacer.begin(&stop).await;
            clock.advance(Duration::from_millis(7));
            pacer.take(1, 0, &stop).await;
            clock.advance(Duration::from_millis(4));
        }
        11_000.0 / (clock.now().0 - begun.0) as f64
    }

    fn latency(millis: u64) -> Health {
        Health {
            latency: Duration::from_millis(millis),
            ..Health::well(START)
        }
    }

    #[tokio::test]
    async fn the_share_of_time_that_is_worked_is_the_intensity() {
        for intensity in [0.1, 0.5, 0.75, 1.0] {
            let (clock, pacer, throttle) = pacer(intensity);
            let found = work(&clock, &pacer).await;
            assert!(
                (found / intensity - 1.0).abs() < 0.01,
                "{found} of {intensity}"
            );
            let rested = throttle.waits().into_iter().map(|(_, reason, waited)| {
                assert_eq!(reason, Reason::Intensity);
                waited.as_secs_f64()
            });
            let expected = 11.0 * (1.0 / intensity - 1.0);
            assert!((rested.sum::<f64>() - expected).abs() < 0.3);
        }
    }

    #[tokio::test]
    async fn a_slow_node_is_given_rest_beside_that_of_the_intensity_and_by_its_name() {
        let (clock, pacer, throttle) = pacer(0.5);
        pacer.look(Some(latency(1)));
        for _ in 0..40 {
            pacer.look(Some(latency(60)));
        }
        let found = work(&clock, &pacer).await;
        assert!((found * 32.0 - 1.0).abs() < 0.02, "{found}");
        let waits = throttle.waits();
        let of = |reason| waits.iter().find(|(_, why, _)| *why == reason).unwrap().2;
        assert!((of(Reason::Intensity).as_secs_f64() - 11.0).abs() < 0.5);
        assert!((of(Reason::Latency).as_secs_f64() - 330.0).abs() < 3.0);
        for _ in 0..40 {
            pacer.look(Some(latency(1)));
        }
        let found = work(&clock, &pacer).await;
        assert!((found * 2.0 - 1.0).abs() < 0.02, "{found}");
    }

    #[tokio::test]
    async fn calls_at_the_same_time_are_worked_once() {
        let (clock, pacer, _throttle) = pacer(0.5);
        let stop = CancellationToken::new();
        let both = (pacer.begin(&stop).await, pacer.begin(&stop).await);
        clock.advance(Duration::from_secs(1));
        drop(both);
        let before = clock.now();
        drop(pacer.begin(&stop).await);
        assert_eq!(clock.now().0 - before.0, 1_000);
    }
}
