//! What a replica owes in time: PURE arithmetic of rates and of the share of time spent working.
//!
//! Everything is counted exactly and rounded nowhere, so that a rate holds over any time, however it is chopped up.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::model::Millis;

/// How far a budget may run ahead of time: what is made up for after a delay of our own.
const BURST_MILLIS: i64 = 250;

/// How much rest is gathered before it is taken: a shorter one is not worth waking up for.
const REST_MICROS: i64 = 10_000;

/// So much per second; what is taken beyond is owed.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// In thousandths of what is counted; below nothing, what may still be taken at once.
    owed: i128,
}

impl Budget {
    /// Lets time pass. A rate of nothing is unlimited.
    pub(super) fn pass(&mut self, millis: i64, per_second: Option<NonZeroU64>) {
        let Some(rate) = per_second else {
            self.owed = 0;
            return;
        };
        let rate = i128::from(rate.get());
        let paid = rate * i128::from(millis);
        self.owed = (self.owed - paid).max(-rate * i128::from(BURST_MILLIS));
    }

    /// Takes so much.
    pub(super) fn take(&mut self, count: u64) {
        self.owed += i128::from(count) * 1000;
    }

    /// How long until nothing is owed.
    pub(super) fn wait(&self, per_second: Option<NonZeroU64>) -> Option<Duration> {
        let rate = i128::from(per_second?.get());
        (self.owed > 0).then(|| {
            let millis = (self.owed + rate - 1) / rate;
            Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
        })
    }
}

/// Rest that is owed for work done.
#[derive(Debug, Default)]
pub(super) struct Rest {
    micros: i64,
    /// It is being taken, to the end.
    is_due: bool,
}

impl Rest {
    /// Work was done, and for each unit of it so much rest is owed.
    pub(super) fn work(&mut self, millis: i64, rest_per_work: f64) {
        // An intensity near nothing asks for more rest than can be counted.
        let more = (millis as f64 * 1000.0 * rest_per_work).round() as i64;
        self.micros = self.micros.saturating_add(more);
        self.is_due |= self.micros >= REST_MICROS;
    }

    /// Time passed without work. A rest that took too long shortens the next.
    pub(super) fn rest(&mut self, millis: i64) {
        self.micros = (self.micros - millis * 1000).max(-BURST_MILLIS * 1000);
        self.is_due &= self.micros > 0;
    }

    /// Nothing is owed any more.
    pub(super) fn forgive(&mut self) {
        *self = Self::default();
    }

    /// How long to rest now.
    pub(super) fn wait(&self) -> Option<Duration> {
        let millis = u64::try_from(self.micros.saturating_add(999) / 1000).unwrap_or(0);
        (self.is_due && millis > 0).then(|| Duration::from_millis(millis))
    }
}

/// How many millis have passed; a clock that was set back lets none pass.
pub(super) fn passed(since: &mut Option<Millis>, now: Millis) -> i64 {
    let before = since.replace(now).unwrap_or(now);
    (now.0 - before.0).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(per_second)
    }

    #[test]
    fn a_rate_is_exact_however_the_work_is_chopped_up() {
        for (per_second, portion) in [(1, 1), (7, 3), (1_000, 3), (1_000_000, 4_096), (3, 1_000)] {
            let (mut budget, mut millis, mut taken) = (Budget::default(), 0_i64, 0_u64);
            while taken < per_second * 60 {
                budget.take(portion);
                taken += portion;
                while let Some(wait) = budget.wait(rate(per_second)) {
                    let wait = wait.as_millis() as i64;
                    millis += wait;
                    budget.pass(wait, rate(per_second));
                }
            }
            let asked = taken as f64 / per_second as f64;
            let off = millis as f64 / 1000.0 / asked - 1.0;
            assert!(off.abs() < 0.001, "{per_second}/s by {portion}: {off}");
        }
    }

    #[test]
    fn more_rest_than_can_be_counted_is_the_longest_there_is() {
        let mut rest = Rest::default();
        for _ in 0..3 {
            rest.work(20, f64::INFINITY);
            rest.work(0, f64::INFINITY);
        }
        assert!(rest.wait() > Some(Duration::from_secs(u64::from(u32::MAX))));
    }

    #[test]
    fn an_idle_time_is_not_saved_up() {
        let mut budget = Budget::default();
        budget.pass(60_000, rate(1000));
        budget.take(2_000);
        assert_eq!(budget.wait(rate(1000)), Some(Duration::from_millis(1_750)));
    }

    #[test]
    fn a_new_rate_holds_for_what_is_owed_already() {
        let mut budget = Budget::default();
        budget.take(1_000);
        assert_eq!(budget.wait(rate(1)), Some(Duration::from_secs(1_000)));
        assert_eq!(budget.wait(rate(1_000)), Some(Duration::from_secs(1)));
        assert_eq!(budget.wait(None), None);
    }

    #[test]
    fn the_share_of_work_is_exact_with_rests_that_take_too_long() {
        for share in [0.05, 0.25, 0.5, 0.9, 1.0] {
            let (mut rest, mut worked, mut rested) = (Rest::default(), 0, 0);
            while worked < 60_000 {
                rest.work(3, 1.0 / share - 1.0);
                worked += 3;
                while let Some(wait) = rest.wait() {
                    let late = wait.as_millis() as i64 + 1;
                    rest.rest(late);
                    rested += late;
                }
            }
            let found = worked as f64 / (worked + rested) as f64;
            assert!((found / share - 1.0).abs() < 0.01, "{share}: {found}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_lets_no_time_pass() {
        let mut since = None;
        assert_eq!(passed(&mut since, Millis(5_000)), 0);
        assert_eq!(passed(&mut since, Millis(4_000)), 0);
        assert_eq!(passed(&mut since, Millis(4_030)), 30);
    }
}
