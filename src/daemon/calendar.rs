//! When a schedule is due, and when it may work. PURE: the time comes in.
//!
//! ```text
//! cron, every --due--> due times --jitter--> starts        windows - blackouts --> open minutes of the week
//! ```
//!
//! A cron expression speaks of the time on the wall of its zone. Where clocks go forward, a time that does not exist is
//! taken at the next one that does; where they go back, a time that exists twice is taken once, the first time.
//! `every` counts from when the schedule became known, so that it neither drifts with the length of runs nor moves
//! with a restart. Windows and blackouts go by what the clock on the wall shows.

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike};
use chrono_tz::Tz;

use crate::config::{Cron, Due, MINUTES_PER_DAY, Schedule};
use crate::model::Millis;

const MINUTE: i64 = 60_000;

/// How far ahead an opening or closing is looked for: a week, and what clocks may go forward or back in it.
const HORIZON_MINUTES: i64 = 8 * 24 * 60;

/// The most that clocks go back at once.
const LONGEST_OVERLAP: TimeDelta = TimeDelta::hours(3);

/// One schedule's times.
#[derive(Debug, Clone)]
pub struct Timetable {
    name: String,
    due: Due,
    timezone: Tz,
    open: Vec<bool>,
    always_open: bool,
    jitter: Duration,
    deadline: Duration,
    known_since: Millis,
}

impl Timetable {
    /// The times of a schedule that is known since then.
    pub fn new(schedule: &Schedule, known_since: Millis) -> Self {
        let open = schedule.open_minutes();
        Self {
            name: schedule.name.clone(),
            due: schedule.due.clone(),
            timezone: schedule.timezone,
            always_open: !open.contains(&false),
            open,
            jitter: schedule.jitter,
            deadline: schedule.deadline.unwrap_or_default(),
            known_since,
        }
    }

    /// The first start after this time, jitter included: what is shown as the next run.
    pub fn next_due(&self, after: Millis, seed: u64) -> Millis {
        // A due time before `after` may have been put off beyond it.
        let mut due = self.last_due_time(after);
        loop {
            match due.map(|due| self.start_of(due, seed)) {
                Some(start) if start > after => return start,
                _ => {}
            }
            due = Some(self.due_after(due.unwrap_or(after)));
        }
    }

    /// The first due time after this one, without jitter.
    pub fn due_after(&self, after: Millis) -> Millis {
        match &self.due {
            Due::Cron(cron) => self.cron_after(cron, after),
            Due::Every(every) => {
                let steps = (after.0 - self.known_since.0).div_euclid(millis(*every)) + 1;
                self.step(*every, steps.max(0))
            }
        }
    }

    /// The last due time up to this one, without jitter; none before the schedule was known.
    pub fn last_due_time(&self, until: Millis) -> Option<Millis> {
        if until < self.known_since {
            return None;
        }
        let found = match &self.due {
            Due::Cron(cron) => self.cron_until(cron, until),
            Due::Every(every) => {
                let steps = (until.0 - self.known_since.0).div_euclid(millis(*every));
                Some(self.step(*every, steps))
            }
        };
        found.filter(|due| *due >= self.known_since)
    }

    /// When a run that is due then starts: put off by 0 to `jitter`, always the same for the same seed and due time.
    pub fn start_of(&self, due: Millis, seed: u64) -> Millis {
        let jitter = u64::try_from(millis(self.jitter)).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(&due.0.to_le_bytes());
        hasher.update(self.name.as_bytes());
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        due.plus(Duration::from_millis(
            u64::from_le_bytes(bytes) % (jitter + 1),
        ))
    }

    /// Whether it may work at this time.
    pub fn is_open(&self, at: Millis) -> bool {
        if self.always_open {
            return true;
        }
        let wall = self.wall(at);
        let day = usize::try_from(wall.weekday().num_days_from_monday()).unwrap_or_default();
        let minute = usize::try_from(wall.hour() * 60 + wall.minute()).unwrap_or_default();
        self.open[day * usize::from(MINUTES_PER_DAY) + minute]
    }

    /// The first time from this one on at which it may not work; none if it always may.
    pub fn closes_at(&self, at: Millis) -> Option<Millis> {
        if self.always_open {
            return None;
        }
        self.first_minute(at, false)
    }

    /// The first time from this one on at which it may work; none if it never may.
    pub fn opens_at(&self, at: Millis) -> Option<Millis> {
        if self.always_open {
            return Some(at);
        }
        self.first_minute(at, true)
    }

    /// Whether there was no full success for too long.
    ///
    /// With the last two due times d1 < d2: no success ended since d1, although the run of d2 had its grace too. So one
    /// run may fail, or take until the next is due, without anybody being woken. The grace is jitter and deadline,
    /// from when the window of d2 opens; without a deadline a run has the time from d1 to d2 in any case. A schedule
    /// that never succeeded counts from when it became known. A pause does not hide it.
    pub fn overdue(&self, last_success: Option<Millis>, now: Millis) -> bool {
        self.overdue_at(last_success).is_some_and(|at| at <= now)
    }

    /// When it becomes overdue if nothing succeeds until then.
    pub fn overdue_at(&self, last_success: Option<Millis>) -> Option<Millis> {
        let since = last_success.unwrap_or(self.known_since);
        let first = self.due_after(since);
        let second = self.due_after(first);
        let grace = self.jitter + self.deadline;
        Some(self.opens_at(second)?.plus(grace))
    }

    fn step(&self, every: Duration, steps: i64) -> Millis {
        Millis(self.known_since.0 + steps * millis(every))
    }

    fn cron_after(&self, cron: &Cron, after: Millis) -> Millis {
        let mut wall = self.wall(after);
        // Times on the wall that exist twice, and went by, may come first: at most those of one overlap.
        while let Some(next) = cron.next(wall) {
            match self.instant(next) {
                Some(found) if found > after => return found,
                _ => wall = next,
            }
        }
        // The configuration takes no expression that ends; the calendar does, in the year 5000.
        Millis(i64::MAX)
    }

    fn cron_until(&self, cron: &Cron, until: Millis) -> Option<Millis> {
        // SUBTLE: in the second pass of an hour that exists twice, all of the first pass went by, also what is later
        // on the wall.
        let before = Millis(until.0 - LONGEST_OVERLAP.num_milliseconds());
        let wall = self
            .wall(until)
            .max(self.wall(before).checked_add_signed(LONGEST_OVERLAP)?);
        let mut candidate = cron.previous(wall)?;
        loop {
            match self.instant(candidate) {
                Some(found) if found <= until => return Some(found),
                _ => {
                    candidate =
                        cron.previous(candidate.checked_sub_signed(TimeDelta::seconds(1))?)?
                }
            }
        }
    }

    /// The time on the wall.
    fn wall(&self, at: Millis) -> NaiveDateTime {
        let utc = DateTime::from_timestamp_millis(at.0).unwrap_or_default();
        let utc = utc.naive_utc();
        let offset = self.timezone.offset_from_utc_datetime(&utc).fix();
        utc.checked_add_signed(TimeDelta::seconds(i64::from(offset.local_minus_utc())))
            .unwrap_or(utc)
    }

    /// The instant of a time on the wall: the first where it exists twice, the next that does where it does not.
    fn instant(&self, wall: NaiveDateTime) -> Option<Millis> {
        if let Some(found) = self.timezone.from_local_datetime(&wall).earliest() {
            return Some(Millis(found.timestamp_millis()));
        }
        // Inside a gap: the minute at which the clock has gone forward, found between two times around it.
        let before = self.resolve_around(wall, -TimeDelta::days(2))?;
        let after = self.resolve_around(wall, TimeDelta::days(2))?;
        let (mut low, mut high) = (before / MINUTE, after / MINUTE);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.wall(Millis(middle * MINUTE)) < wall {
                true => low = middle,
                false => high = middle,
            }
        }
        Some(Millis(high * MINUTE))
    }

    fn resolve_around(&self, wall: NaiveDateTime, distance: TimeDelta) -> Option<i64> {
        let wall = wall.checked_add_signed(distance)?;
        let found = self.timezone.from_local_datetime(&wall).earliest()?;
        Some(found.timestamp_millis())
    }

    /// This time if it is open or closed as wanted, else the first minute that is.
    fn first_minute(&self, at: Millis, open: bool) -> Option<Millis> {
        if self.is_open(at) == open {
            return Some(at);
        }
        let first = at.0.div_euclid(MINUTE) + 1;
        (first..first + HORIZON_MINUTES)
            .map(|minute| Millis(minute * MINUTE))
            .find(|minute| self.is_open(*minute) == open)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
