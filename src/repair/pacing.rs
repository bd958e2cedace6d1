//! How gently: keys and bytes per second, counted per replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::model::Millis;
use crate::store::Pace;

/// The pace of one replica: two budgets that fill with time.
pub struct Pacer {
    clock: Arc<dyn Clock>,
    keys: Budget,
    bytes: Budget,
    keys_admitted: AtomicU64,
}

/// So much per second; what is taken beyond is waited for.
struct Budget {
    per_second: u64,
    /// The time from which on nothing is owed, in microseconds, so that slow rates round to nothing lost.
    paid_until: Mutex<i64>,
}

/// How far a budget may run ahead of time: work admitted at once after a pause.
const BURST: Duration = Duration::from_millis(100);

impl Pacer {
    /// A pace with these limits; 0 is unlimited.
    pub fn new(clock: Arc<dyn Clock>, keys_per_second: u64, bytes_per_second: u64) -> Self {
        Self {
            clock,
            keys: Budget::new(keys_per_second),
            bytes: Budget::new(bytes_per_second),
            keys_admitted: AtomicU64::new(0),
        }
    }

    /// Keys admitted so far: the progress of a scan.
    pub fn keys_admitted(&self) -> u64 {
        self.keys_admitted.load(Ordering::Relaxed)
    }
}

impl Budget {
    fn new(per_second: u64) -> Self {
        Self {
            per_second,
            paid_until: Mutex::new(i64::MIN),
        }
    }

    /// Takes so much, and waits until it is paid for.
    async fn take(&self, count: u64, clock: &dyn Clock) {
        if self.per_second == 0 || count == 0 {
            return;
        }
        let wait = {
            let mut paid_until = self.paid_until.lock().await;
            let Millis(now) = clock.now();
            let now = now.saturating_mul(1000);
            let burst = BURST.as_micros() as i64;
            let cost = (u128::from(count) * 1_000_000 / u128::from(self.per_second)) as i64;
            *paid_until = (*paid_until).max(now - burst).saturating_add(cost);
            (*paid_until - now).max(0)
        };
        if wait >= 1000 {
            clock.sleep(Duration::from_micros(wait as u64)).await;
        }
    }
}

#[async_trait]
impl Pace for Pacer {
    async fn keys(&self, count: u64) {
        self.keys_admitted.fetch_add(count, Ordering::Relaxed);
        self.keys.take(count, &*self.clock).await;
    }

    async fn bytes(&self, count: u64) {
        self.bytes.take(count, &*self.clock).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn a_rate_is_kept_over_time() {
        let clock = Arc::new(ManualClock::new(Millis(1_000_000)));
        let pacer = Pacer::new(clock.clone(), 1000, 0);
        for _ in 0..3_000 {
            pacer.keys(1).await;
        }
        let passed = clock.now().0 - 1_000_000;
        assert!(
            (2_850..=3_050).contains(&passed),
            "{passed} ms for 3000 keys at 1000/s"
        );
        assert_eq!(pacer.keys_admitted(), 3_000);
    }

    #[tokio::test]
    async fn an_idle_time_is_not_saved_up() {
        let clock = Arc::new(ManualClock::new(Millis(1_000_000)));
        let pacer = Pacer::new(clock.clone(), 0, 1_000_000);
        pacer.bytes(1).await;
        clock.advance(Duration::from_secs(60));
        let before = clock.now().0;
        pacer.bytes(2_000_000).await;
        assert!(clock.now().0 - before >= 1_850);
    }

    #[tokio::test]
    async fn without_a_limit_nothing_waits() {
        let clock = Arc::new(ManualClock::new(Millis(0)));
        Pacer::new(clock.clone(), 0, 0).keys(u64::MAX / 2).await;
        assert_eq!(clock.now(), Millis(0));
    }
}
