//! Which schedule runs next. PURE: a state machine over schedules and what is remembered of them.
//!
//! ```text
//!            step: Start              started                    ended(Done, Partial, Failed, ...)
//!   waiting ------------> the caller ---------> running --------------------------------> waiting
//!                                                  | step: Stop      ended(Closed)
//!                                                  +----------------------------> resting until its window opens
//! ```
//!
//! The caller asks [`Planner::step`], does what it says, tells what happened, and keeps [`Planner::memory`] on disk
//! after each change. Guarantees:
//!
//! * One run at a time, of all schedules: two runs over the same replicas would write against each other.
//! * A run starts only in a window of its schedule, and is told to stop when the window closes. It then rests, and
//!   goes on when the next opens, before anything that became due later.
//! * Due times that went by without a run (downtime, a long run, a pause) are made up by one run, not by one each.
//! * Of several that wait, the one that is due longest starts first; what an operator asked for comes before all.
//! * A run that worked for its deadline is told to stop; time at rest does not count.
//! * A run that was under way when the process ended goes on after it.
//! * A run that failed is not tried again before it is due again: a schedule that fails shows as overdue.

use std::collections::BTreeSet;
use std::time::Duration;

use super::calendar::Timetable;
use crate::config::Schedule;
use crate::model::Millis;

mod memory;

pub use memory::{OpenRun, PlannerMemory, ScheduleMemory};

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start a run and say so with [`Planner::started`].
    Start(Start),
    /// Stop the run under way, and say so with [`Planner::ended`].
    Stop {
        /// Its schedule.
        schedule: String,
        /// Why.
        why: StopReason,
    },
    /// Do nothing until then, or until something else happens; nothing means that nothing is planned.
    Wait {
        /// When to ask again.
        until: Option<Millis>,
    },
}

/// A run to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its schedule.
    pub schedule: String,
    /// The time it was due, without jitter; the latest, where it makes up several.
    pub due: Millis,
    /// Whether it goes on with a run that rested or was cut off.
    pub resumes: bool,
}

/// Why a run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its window closed: it rests until the next ([`Outcome::Closed`]).
    WindowClosed,
    /// It worked for its deadline ([`Outcome::Deadline`]).
    Deadline,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything took part: the only one that is a success.
    Done,
    /// A replica, a segment or a key was missed.
    Partial,
    /// It failed, or a guard stopped it.
    Failed,
    /// An operator ended it for good.
    Stopped,
    /// It worked for its deadline.
    Deadline,
    /// Its window closed, or the process ends: it goes on later.
    Closed,
}

/// How one schedule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// When its next run is expected to start; nothing while it is paused.
    pub next_run: Option<Millis>,
    /// Whether it had no full success for too long.
    pub overdue: bool,
    /// When it becomes overdue if nothing succeeds until then.
    pub overdue_at: Option<Millis>,
    /// Whether its window is open.
    pub open: bool,
    /// Whether a run of it is under way.
    pub running: bool,
    /// What is remembered of it.
    pub memory: ScheduleMemory,
}

/// Schedules and what is remembered of them.
#[derive(Debug, Clone)]
pub struct Planner {
    plans: Vec<Plan>,
    /// Paused schedules that are not configured at present.
    paused: BTreeSet<String>,
    running: Option<Running>,
    seed: u64,
}

#[derive(Debug, Clone)]
struct Plan {
    schedule: Schedule,
    timetable: Timetable,
    memory: ScheduleMemory,
}

/// The run under way, which may outlive its schedule.
#[derive(Debug, Clone)]
struct Running {
    schedule: String,
    stop_at: Option<(Millis, StopReason)>,
}

impl Planner {
    /// The planner of a process that starts. A schedule without a memory is known from now on; `seed` decides about
    /// jitter and belongs to the state directory.
    pub fn new(schedules: &[Schedule], memory: &PlannerMemory, now: Millis, seed: u64) -> Self {
        let plan = |schedule: &Schedule| {
            let mut plan = Plan::new(schedule.clone(), memory, now);
            plan.memory.restore(now);
            plan
        };
        Self {
            plans: schedules.iter().map(plan).collect(),
            paused: memory.paused_beside(names(schedules)),
            running: None,
            seed,
        }
    }

    /// Takes other schedules over, after a reload. What is remembered stays with the names; a run under way goes on.
    pub fn reload(&mut self, schedules: &[Schedule], now: Millis) {
        let memory = self.memory();
        let plan = |schedule: &Schedule| Plan::new(schedule.clone(), &memory, now);
        self.plans = schedules.iter().map(plan).collect();
        self.paused = memory.paused_beside(names(schedules));
        let running = self.running.take();
        self.running = running.map(|running| match self.plan(&running.schedule) {
            Some(plan) => plan.running(now),
            None => running,
        });
    }

    /// What to do now.
    pub fn step(&self, now: Millis) -> Step {
        if let Some(running) = &self.running {
            return running.step(now);
        }
        let ready = self.plans.iter().filter_map(|plan| {
            let wish = plan.wish(now, self.seed)?;
            plan.timetable.is_open(now).then_some((wish, plan))
        });
        // Of equals the first in the file: `min_by_key` keeps it.
        match ready.min_by_key(|(wish, _)| (!wish.asked, wish.since)) {
            Some((wish, plan)) => Step::Start(Start {
                schedule: plan.schedule.name.clone(),
                due: wish.due,
                resumes: wish.resumes,
            }),
            None => Step::Wait {
                until: self.wake_at(now),
            },
        }
    }

    /// A run was started, as [`Self::step`] said.
    ///
    /// # Panics
    /// If another is under way: that would be our own mistake.
    pub fn started(&mut self, start: &Start, now: Millis) {
        assert!(self.running.is_none(), "one run at a time");
        let running = self.plan_mut(&start.schedule).map(|plan| {
            plan.memory.begin(start.due, now);
            plan.running(now)
        });
        self.running = Some(running.unwrap_or_else(|| Running {
            schedule: start.schedule.clone(),
            stop_at: None,
        }));
    }

    /// The run under way ended.
    pub fn ended(&mut self, outcome: Outcome, now: Millis) {
        let Some(running) = self.running.take() else {
            return;
        };
        if let Some(plan) = self.plan_mut(&running.schedule) {
            plan.memory.end(outcome, now);
        }
    }

    /// An operator wants a run as soon as a window is open and nothing else runs, paused or not. False if there is no
    /// such schedule.
    pub fn run_now(&mut self, schedule: &str, now: Millis) -> bool {
        let plan = self.plan_mut(schedule);
        plan.map(|plan| plan.memory.asked.get_or_insert(now))
            .is_some()
    }

    /// An operator pauses a schedule, or lets it go on; a run under way is not touched. False if there is none.
    pub fn pause(&mut self, schedule: &str, paused: bool) -> bool {
        let plan = self.plan_mut(schedule);
        plan.map(|plan| plan.memory.paused = paused).is_some()
    }

    /// An operator no longer wants the run that [`Self::run_now`] asked for. Whether one was waiting; nothing if there is
    /// no such schedule.
    pub fn withdraw(&mut self, schedule: &str) -> Option<bool> {
        let plan = self.plan_mut(schedule)?;
        Some(plan.memory.asked.take().is_some())
    }

    /// An operator pauses the run under way, or lets it go on: it stays so when it rests and when the process ends.
    pub fn pause_run(&mut self, paused: bool) {
        if let Some(open) = self.open_run() {
            open.paused = paused;
        }
    }

    /// The run under way has this number. Answers that of the run which it goes on with.
    pub fn works_as(&mut self, run: u64) -> Option<u64> {
        self.open_run()?.run.replace(run)
    }

    /// Whether the run under way was paused.
    pub fn is_run_paused(&self) -> bool {
        let running = self.running.as_ref();
        let plan = running.and_then(|running| self.plan(&running.schedule));
        let open = plan.and_then(|plan| plan.memory.open.as_ref());
        open.is_some_and(|open| open.paused)
    }

    fn open_run(&mut self) -> Option<&mut OpenRun> {
        let schedule = self.running.as_ref()?.schedule.clone();
        self.plan_mut(&schedule)?.memory.open.as_mut()
    }

    /// The schedule of the run under way, and when it will be told to stop.
    pub fn running(&self) -> Option<(&str, Option<Millis>)> {
        let running = self.running.as_ref()?;
        Some((&running.schedule, running.stop_at.map(|(at, _)| at)))
    }

    /// What to keep on disk.
    pub fn memory(&self) -> PlannerMemory {
        let plans = self.plans.iter();
        PlannerMemory {
            schedules: plans
                .map(|plan| (plan.schedule.name.clone(), plan.memory.clone()))
                .collect(),
            paused: self.paused.clone(),
        }
    }

    /// The schedules, in the order of the file.
    pub fn schedules(&self) -> impl Iterator<Item = &Schedule> {
        self.plans.iter().map(|plan| &plan.schedule)
    }

    /// How every schedule stands, in the order of the file.
    pub fn status(&self, now: Millis) -> Vec<ScheduleStatus> {
        self.plans
            .iter()
            .map(|plan| {
                let running = self.running.as_ref();
                let running = running.is_some_and(|one| one.schedule == plan.schedule.name);
                plan.status(now, self.seed, running)
            })
            .collect()
    }

    /// The next time at which a step may say something else.
    fn wake_at(&self, now: Millis) -> Option<Millis> {
        let plans = self.plans.iter();
        plans
            .filter_map(|plan| plan.starts_at(now, self.seed))
            .min()
    }

    fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.schedule.name == name)
    }

    fn plan_mut(&mut self, name: &str) -> Option<&mut Plan> {
        let mut plans = self.plans.iter_mut();
        plans.find(|plan| plan.schedule.name == name)
    }
}

impl Running {
    fn step(&self, now: Millis) -> Step {
        match self.stop_at {
            Some((at, why)) if at <= now => Step::Stop {
                schedule: self.schedule.clone(),
                why,
            },
            _ => Step::Wait {
                until: self.stop_at.map(|(at, _)| at),
            },
        }
    }
}

fn names(schedules: &[Schedule]) -> impl Iterator<Item = &str> + Clone {
    schedules.iter().map(|schedule| schedule.name.as_str())
}

/// A run that waits for its turn.
struct Wish {
    due: Millis,
    since: Millis,
    asked: bool,
    resumes: bool,
}

impl Plan {
    fn new(schedule: Schedule, memory: &PlannerMemory, now: Millis) -> Self {
        let remembered = memory.schedules.get(&schedule.name).cloned();
        let is_paused = memory.paused.contains(&schedule.name);
        let mut memory = remembered.unwrap_or_else(|| ScheduleMemory {
            paused: is_paused,
            ..ScheduleMemory::known_since(now)
        });
        memory.known_since = memory.known_since.min(now);
        Self {
            timetable: Timetable::new(&schedule, memory.known_since),
            schedule,
            memory,
        }
    }

    /// What it wants now, windows aside.
    fn wish(&self, now: Millis, seed: u64) -> Option<Wish> {
        let asked = self.memory.asked.is_some();
        if let Some(open) = self.memory.open.as_ref().filter(|_| self.may_run()) {
            return Some(Wish {
                due: open.due,
                since: open.due,
                asked,
                resumes: true,
            });
        }
        if let Some(at) = self.memory.asked {
            return Some(Wish {
                // What became due since is served with it.
                due: self
                    .timetable
                    .last_due_time(now)
                    .map_or(at, |due| due.max(at)),
                since: at,
                asked,
                resumes: false,
            });
        }
        let since = self.unserved();
        if self.memory.paused || self.timetable.start_of(since, seed) > now {
            return None;
        }
        // What was missed is made up once: by a run for the latest.
        let due = self.timetable.last_due_time(now).unwrap_or(since);
        Some(Wish {
            due: due.max(since),
            since,
            asked,
            resumes: false,
        })
    }

    fn may_run(&self) -> bool {
        !self.memory.paused || self.memory.asked.is_some()
    }

    /// The first due time that no run has served.
    fn unserved(&self) -> Millis {
        // The millisecond before: `every` is due the moment it is known.
        let before = Millis(self.memory.known_since.0 - 1);
        let served = self.memory.last_due.map_or(before, |due| due.max(before));
        self.timetable.due_after(served)
    }

    /// When it would start if nothing else ran.
    fn starts_at(&self, now: Millis, seed: u64) -> Option<Millis> {
        if !self.may_run() {
            return None;
        }
        let wanted = match self.wish(now, seed) {
            Some(_) => now,
            None => self.timetable.start_of(self.unserved(), seed),
        };
        self.timetable.opens_at(wanted)
    }

    /// The run under way, as it stands from now on.
    fn running(&self, now: Millis) -> Running {
        let closes = self.timetable.closes_at(now);
        let closes = closes.map(|at| (at, StopReason::WindowClosed));
        let deadline = self.schedule.deadline.map(|deadline| {
            let left = deadline.saturating_sub(self.memory.worked(now));
            (now.plus(left), StopReason::Deadline)
        });
        Running {
            schedule: self.schedule.name.clone(),
            // The deadline first: what is over at both is over.
            stop_at: deadline.into_iter().chain(closes).min_by_key(|(at, _)| *at),
        }
    }

    fn status(&self, now: Millis, seed: u64, running: bool) -> ScheduleStatus {
        let overdue_at = self.timetable.overdue_at(self.memory.last_success);
        ScheduleStatus {
            name: self.schedule.name.clone(),
            next_run: match running {
                true if self.memory.paused => None,
                true => {
                    let next = self.timetable.next_due(now, seed);
                    self.timetable.opens_at(next)
                }
                false => self.starts_at(now, seed),
            },
            overdue: overdue_at.is_some_and(|at| at <= now),
            overdue_at,
            open: self.timetable.is_open(now),
            running,
            memory: self.memory.clone(),
        }
    }
}

/// The longest that a caller sleeps before it asks again: the wall clock may be set meanwhile.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
pub(super) mod tests;
