//! Weeks of simulated operation in seconds: runs of random lengths and outcomes, crashes, downtimes, operators.
//!
//! The judge knows the calendars and nothing of the planner. It holds: never two runs at once, never a moment outside a
//! window, no run beyond its deadline, no start without a reason, every due time served by a run that started at or
//! after it (one for all that were missed), the longest due first, nothing slept through, and overdue exactly when its
//! definition says so.

use std::collections::BTreeMap;

use super::*;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// 27 March 2026: in the week from here clocks go forward in Berlin.
const BEGIN: Millis = Millis(1_774_569_600_000);

const SCHEDULES: &str = "\
- { name: nightly, cron: \"0 2 * * *\", timezone: Europe/Berlin, window: \"01:00-06:00\", jitter: 10m, deadline: 4h }
- { name: often, every: 45m, timezone: America/New_York, blackouts: [\"Mon-Fri 08:00-12:00\"], jitter: 5m }
- { name: weekend, cron: \"30 23 * * sat,sun\", window: [\"22:00-04:00\"], deadline: 9h }";

/// SplitMix64: the same numbers from the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: i64) -> i64 {
        i64::try_from(self.roll() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn one_in(&mut self, count: i64) -> bool {
        self.below(count) == 0
    }
}

/// A run as the world knows it.
struct Run {
    name: String,
    started: Millis,
    ends: Millis,
    outcome: Outcome,
}

/// What the judge knows of one schedule.
struct Account {
    timetable: Timetable,
    known_since: Millis,
    deadline: Option<i64>,
    grace: i64,
    /// Due times that no run has served yet.
    waiting: Vec<Millis>,
    looked_until: Millis,
    dues: Vec<Millis>,
    last_success: Option<Millis>,
    /// When the run was due that rests.
    resting: Option<Millis>,
    due: Millis,
    worked: i64,
    asked: bool,
    paused: bool,
}

impl Account {
    fn new(schedule: &Schedule, known_since: Millis) -> Self {
        let length = |duration: Duration| i64::try_from(duration.as_millis()).unwrap();
        let deadline = schedule.deadline.map(length);
        Self {
            timetable: Timetable::new(schedule, known_since),
            known_since,
            deadline,
            grace: length(schedule.jitter) + deadline.unwrap_or(0),
            waiting: Vec::new(),
            looked_until: Millis(known_since.0 - 1),
            dues: Vec::new(),
            last_success: None,
            resting: None,
            due: BEGIN,
            worked: 0,
            asked: false,
            paused: false,
        }
    }

    fn look(&mut self, now: Millis) {
        loop {
            let due = self.timetable.due_after(self.looked_until);
            if due > now {
                break;
            }
            self.waiting.push(due);
            self.dues.push(due);
            self.looked_until = due;
        }
    }

    /// Since when it waits for a run that may start now.
    fn ready_since(&self, now: Millis, seed: u64) -> Option<Millis> {
        let may_run = !self.paused || self.asked;
        if !may_run || !self.timetable.is_open(now) {
            return None;
        }
        if self.asked {
            return Some(Millis(i64::MIN));
        }
        if self.resting.is_some() {
            return self.resting;
        }
        let first = self.waiting.first()?;
        (self.timetable.start_of(*first, seed) <= now).then_some(*first)
    }

    fn overdue(&self, now: Millis) -> bool {
        let since = self.last_success.unwrap_or(self.known_since);
        self.dues.windows(2).any(|pair| {
            let opens = || self.timetable.opens_at(pair[1]).unwrap();
            since < pair[0] && opens().0 + self.grace <= now.0
        })
    }
}

struct World {
    dice: Dice,
    seed: u64,
    now: Millis,
    planner: Planner,
    accounts: BTreeMap<String, Account>,
    run: Option<Run>,
    runs: usize,
    crashes: usize,
    closings: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let schedules = schedules(SCHEDULES);
        let account = |one: &Schedule| (one.name.clone(), Account::new(one, BEGIN));
        Self {
            dice: Dice(seed),
            seed,
            now: BEGIN,
            planner: Planner::new(&schedules, &PlannerMemory::default(), BEGIN, seed),
            accounts: schedules.iter().map(account).collect(),
            run: None,
            runs: 0,
            crashes: 0,
            closings: 0,
        }
    }

    /// One look: what happens now, and when the next is.
    fn turn(&mut self) {
        let now = self.now;
        for account in self.accounts.values_mut() {
            account.look(now);
        }
        if self.run.as_ref().is_some_and(|run| run.ends <= now) {
            let outcome = self.run.as_ref().unwrap().outcome;
            self.end(outcome);
        }
        let mut step = self.planner.step(now);
        if let Step::Stop { schedule, why } = &step {
            self.stopped(schedule, *why);
            step = self.planner.step(now);
        }
        if let Step::Start(start) = &step {
            self.start(start);
            step = self.planner.step(now);
        }
        let Step::Wait { until } = step else {
            // A run that had worked for its deadline before it rested.
            self.check();
            return;
        };
        self.check();
        self.pass_time(until);
    }

    fn start(&mut self, start: &Start) {
        assert!(self.run.is_none(), "two at once");
        let now = self.now;
        let seed = self.seed;
        let ready = |account: &Account| account.ready_since(now, seed);
        let longest = self.accounts.values().filter_map(ready).min();
        let account = self.accounts.get_mut(&start.schedule).unwrap();
        let since = account.ready_since(now, seed);
        assert!(since.is_some(), "no reason to start {start:?}");
        assert_eq!(since, longest, "another waits for longer");
        assert_eq!(start.resumes, account.resting.is_some());
        if account.resting.is_none() {
            account.due = start.due;
            // Also what is still put off by jitter.
            let served = account.waiting.last().copied();
            assert!(served.is_none_or(|due| due <= start.due || account.asked));
            account.waiting.clear();
            account.worked = 0;
        }
        account.resting = None;
        account.asked = false;
        let length = match self.dice.below(10) {
            0 => self.dice.below(10 * 60) * MINUTE,
            1..4 => self.dice.below(120) * MINUTE,
            _ => self.dice.below(20 * MINUTE),
        };
        let outcome = match self.dice.below(10) {
            0 => Outcome::Failed,
            1 => Outcome::Partial,
            2 => Outcome::Stopped,
            _ => Outcome::Done,
        };
        self.planner.started(start, now);
        self.runs += 1;
        self.run = Some(Run {
            name: start.schedule.clone(),
            started: now,
            ends: Millis(now.0 + length),
            outcome,
        });
    }

    fn stopped(&mut self, schedule: &str, why: StopReason) {
        let run = self.run.as_ref().unwrap();
        assert_eq!(schedule, run.name);
        let account = &self.accounts[schedule];
        let worked = account.worked + self.now.0 - run.started.0;
        match why {
            StopReason::WindowClosed => {
                assert!(!account.timetable.is_open(self.now));
                self.closings += 1;
                self.end(Outcome::Closed);
            }
            StopReason::Deadline => {
                assert_eq!(account.deadline, Some(worked));
                self.end(Outcome::Deadline);
            }
        }
    }

    /// The run ends in the planner's book too, or with the process.
    fn end(&mut self, outcome: Outcome) {
        self.planner.ended(outcome, self.now);
        let run = self.run.take().unwrap();
        let account = self.accounts.get_mut(&run.name).unwrap();
        let closes = account.timetable.closes_at(run.started);
        assert!(closes.is_none_or(|at| self.now <= at), "outside a window");
        account.worked += self.now.0 - run.started.0;
        assert!(
            account
                .deadline
                .is_none_or(|deadline| account.worked <= deadline)
        );
        account.resting = (outcome == Outcome::Closed).then_some(account.due);
        if outcome == Outcome::Done {
            account.last_success = Some(self.now);
        }
    }

    fn check(&self) {
        let now = self.now;
        let status = self.planner.status(now);
        for status in &status {
            let account = &self.accounts[&status.name];
            assert_eq!(
                status.overdue,
                account.overdue(now),
                "{} at {now:?}",
                status.name
            );
            assert_eq!(status.memory.last_success, account.last_success);
            let running = self.run.as_ref().is_some_and(|run| run.name == status.name);
            assert_eq!(status.running, running);
            if self.run.is_none() {
                let ready = account.ready_since(now, self.seed);
                assert_eq!(ready, None, "{} waits although nothing runs", status.name);
            }
        }
    }

    /// On to the next thing that happens: what the planner waits for, the end of the run, an operator, a crash.
    fn pass_time(&mut self, until: Option<Millis>) {
        let end = self.run.as_ref().map(|run| run.ends);
        let look = Millis(self.now.0 + 1 + self.dice.below(3 * 60 * MINUTE));
        let next = [until, end, Some(look)]
            .into_iter()
            .flatten()
            .min()
            .unwrap();
        assert!(
            next > self.now || end == Some(self.now),
            "time stands still"
        );
        self.now = next;
        if self.dice.one_in(40) {
            self.crash();
        } else if self.dice.one_in(30) {
            self.operate();
        }
    }

    fn crash(&mut self) {
        let kept = serde_json::to_string(&self.planner.memory()).unwrap();
        if let Some(run) = self.run.take() {
            // Nobody counted what it worked since it started.
            let account = self.accounts.get_mut(&run.name).unwrap();
            account.resting = Some(account.due);
        }
        let downtime = match self.dice.below(4) {
            0 => self.dice.below(2 * DAY),
            _ => self.dice.below(30 * MINUTE),
        };
        self.now = Millis(self.now.0 + downtime);
        let memory = serde_json::from_str(&kept).unwrap();
        self.planner = Planner::new(&schedules(SCHEDULES), &memory, self.now, self.seed);
        self.crashes += 1;
    }

    fn operate(&mut self) {
        let names: Vec<String> = self.accounts.keys().cloned().collect();
        let name = &names[usize::try_from(self.dice.below(3)).unwrap()];
        let account = self.accounts.get_mut(name).unwrap();
        if self.dice.one_in(2) {
            account.asked = true;
            assert!(self.planner.run_now(name, self.now));
        } else {
            account.paused = !account.paused;
            assert!(self.planner.pause(name, account.paused));
        }
    }
}

#[test]
fn weeks_of_operation_keep_every_promise() {
    let (mut runs, mut crashes, mut closings) = (0, 0, 0);
    for seed in 0..20 {
        let mut world = World::new(seed);
        while world.now.0 < BEGIN.0 + 8 * DAY {
            world.turn();
        }
        runs += world.runs;
        crashes += world.crashes;
        closings += world.closings;
    }
    assert!(
        runs > 1000 && crashes > 50 && closings > 20,
        "{runs} {crashes} {closings}"
    );
}
