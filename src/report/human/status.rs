//! The service as it stands, for people: what it does now, then schedules, replicas and limits.

use std::time::Duration;

use comfy_table::Cell;

use super::super::shape::Shape;
use super::super::status::{
    Seen, SeenLimits, SeenPace, SeenReplica, SeenRun, SeenSchedule, SeenWork,
};
use super::super::text::{count, duration, millis, size, tame, thousands, time};
use super::joined;
use super::paint::{Paint, Tone};
use super::tables::{framed, table};
use crate::model::Millis;

pub(in crate::report) fn status(shape: &Shape, seen: &Seen) -> String {
    let paint = Paint(shape.colour);
    joined([
        headline(paint, seen),
        seen.current
            .as_ref()
            .map_or_else(String::new, |run| under_way(run, seen.now_ms)),
        seen.last
            .as_ref()
            .map_or_else(String::new, |run| format!("last: {}", ended(run))),
        schedules(shape, seen),
        replicas(shape, seen),
        limits(shape, &seen.limits),
    ])
}

fn headline(paint: Paint, seen: &Seen) -> String {
    let overdue = seen.schedules.iter().filter(|one| one.overdue);
    let overdue: Vec<&str> = overdue.map(|one| one.name.as_str()).collect();
    let (tone, words) = match (&seen.current, overdue.is_empty()) {
        (_, false) => (Tone::Bad, format!("overdue: {}", overdue.join(", "))),
        (Some(run), true) if run.state == "paused" => {
            (Tone::Mixed, format!("run {} is paused", run.id))
        }
        (Some(run), true) => (Tone::Good, format!("run {} works", run.id)),
        (None, true) => (Tone::Good, "no run is under way".into()),
    };
    let up = duration(whole_seconds(seen.now_ms - seen.began_ms));
    let service = paint.dim(&format!("reknit {}, up for {up}", seen.version));
    format!("{}  {service}", paint.tone(tone, &words))
}

fn under_way(run: &SeenRun, now: i64) -> String {
    let by = run
        .schedule
        .as_ref()
        .map_or_else(String::new, |name| format!(" by schedule {name}"));
    let took = duration(whole_seconds(now - run.started_ms));
    let work = run.work.as_ref().map_or_else(String::new, progress);
    format!(
        "run {}: {}{by}, {} for {took}{work}, {} so far",
        run.id,
        run.purpose,
        run.state,
        count(run.divergences, "divergence")
    )
}

/// How far it has come: by segments, and within the present one by keys.
fn progress(work: &SeenWork) -> String {
    let segments = &work.segments;
    let ended = segments.done + segments.failed;
    let all = ended + segments.open;
    let within = match work.expected {
        0 => 0.0,
        expected => (work.scanned as f64 / expected as f64).min(1.0),
    };
    let within = if segments.open > 0 { within } else { 0.0 };
    let percent = 100.0 * (ended as f64 + within) / all.max(1) as f64;
    let segments = match all {
        0 | 1 => String::new(),
        all => format!(" in segment {} of {all}", (ended + 1).min(all)),
    };
    format!(", {percent:.0} %, {}{segments}", work.phase)
}

fn ended(run: &SeenRun) -> String {
    let took = run.ended_ms.map_or_else(String::new, |ended| {
        let took = duration(millis(ended - run.started_ms));
        format!(" at {} after {took}", time(Millis(ended)))
    });
    let shown = ["keys", "differing", "repaired", "left", "undone", "missed"];
    let counts = shown.into_iter().filter_map(|name| {
        let count = run.counts.get(name)?;
        Some(format!(", {} {name}", thousands(*count)))
    });
    let note = run.note.as_ref();
    let note = note.map_or_else(String::new, |note| format!(" ({})", tame(note)));
    format!(
        "run {}, {}: {}{took}{}{note}",
        run.id,
        run.purpose,
        run.state,
        counts.collect::<String>()
    )
}

fn schedules(shape: &Shape, seen: &Seen) -> String {
    if seen.schedules.is_empty() {
        return "no schedules: runs begin only when they are asked for".into();
    }
    let head = ["schedule", "due", "state", "next run", "last full success"];
    let mut table = table(shape, &head);
    for one in &seen.schedules {
        let (state, tone) = state(one);
        let success = one.last_success_ms.map_or_else(
            || "never".into(),
            |at| format!("{} ago", duration(whole_seconds(seen.now_ms - at))),
        );
        table.add_row([
            Cell::new(&one.name),
            Cell::new(&one.due),
            Cell::new(state).fg(tone.colour()),
            Cell::new(next(one, seen.now_ms)),
            Cell::new(success),
        ]);
    }
    framed(shape, table)
}

fn state(schedule: &SeenSchedule) -> (String, Tone) {
    let what = match schedule {
        SeenSchedule { running: true, .. } => "running",
        SeenSchedule { paused: true, .. } => "paused",
        SeenSchedule { asked: true, .. } => "asked for",
        SeenSchedule { open: false, .. } => "outside its window",
        _ => "waiting",
    };
    match (schedule.overdue, schedule.paused) {
        (true, _) => (format!("OVERDUE, {what}"), Tone::Bad),
        (false, true) => (what.into(), Tone::Mixed),
        (false, false) => (what.into(), Tone::Good),
    }
}

fn next(schedule: &SeenSchedule, now: i64) -> String {
    match schedule.next_run_ms {
        None if schedule.paused => "when it is resumed".into(),
        None => "–".into(),
        Some(at) if at <= now => "as soon as it can".into(),
        Some(at) => format!("in {}", duration(whole_seconds(at - now + 999))),
    }
}

fn replicas(shape: &Shape, seen: &Seen) -> String {
    let head = [
        "replica",
        "datacenter",
        "health",
        "latency",
        "clock ahead",
        "waits for",
        "waited",
    ];
    let mut table = table(shape, &head);
    for one in &seen.replicas {
        let (health, tone) = health(one);
        let look = one.health.as_ref();
        let latency = look.and_then(|look| look.latency_seconds);
        let ahead = look.and_then(|look| look.clock_ahead_ms);
        table.add_row([
            Cell::new(&one.name),
            Cell::new(&one.datacenter),
            Cell::new(health).fg(tone.colour()),
            Cell::new(or_dash(latency.map(|at| format!("{:.1}ms", at * 1000.0)))),
            Cell::new(or_dash(ahead.map(|ahead| format!("{ahead}ms")))),
            Cell::new(or_dash(one.waiting_for.as_deref().map(spoken))),
            Cell::new(waited(one)),
        ]);
    }
    framed(shape, table)
}

fn health(replica: &SeenReplica) -> (String, Tone) {
    match &replica.health {
        None => ("not looked at yet".into(), Tone::Mixed),
        Some(look) => match &look.reason {
            None => ("well".into(), Tone::Good),
            Some(reason) => (spoken(reason), Tone::Bad),
        },
    }
}

/// What was waited for longest, first.
fn waited(replica: &SeenReplica) -> String {
    let mut waited: Vec<(&String, &u64)> = replica.waited_ms.iter().collect();
    waited.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
    let waited = waited.into_iter().take(2);
    let waited = waited.map(|(reason, time)| {
        let time = duration(Duration::from_millis(*time));
        format!("{time} {}", spoken(reason))
    });
    let waited: Vec<String> = waited.collect();
    or_dash((!waited.is_empty()).then(|| waited.join(", ")))
}

pub(in crate::report) fn limits(shape: &Shape, limits: &SeenLimits) -> String {
    let paint = Paint(shape.colour);
    let now = format!("limits: {}", pace(&limits.now));
    match limits.changed {
        false => now,
        true => format!(
            "{}\n        the configuration says {}; `reknit reload` goes back to it",
            paint.tone(Tone::Mixed, &now),
            pace(&limits.configured)
        ),
    }
}

fn pace(pace: &SeenPace) -> String {
    let keys = match pace.keys_per_second {
        0 => "unlimited keys/s".into(),
        keys => format!("{} keys/s", thousands(keys)),
    };
    let bytes = match pace.bytes_per_second {
        0 => "unlimited bytes/s".into(),
        bytes => format!("{}/s", size(bytes)),
    };
    format!("{keys}, {bytes}, intensity {}", pace.intensity)
}

/// A name of a metric's label as people say it.
fn spoken(reason: &str) -> String {
    reason.replace('_', " ")
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".into())
}

fn whole_seconds(time: i64) -> Duration {
    Duration::from_secs(millis(time).as_secs())
}
