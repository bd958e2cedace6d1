//! The first lines, which say it all, and the last, which say what to do next.

use std::time::Duration;

use crate::model::ReplicaName;
use crate::repair::{Destruction, Mode, Summary, Tally, Tripped};

use super::super::text::{count, duration, list, millis, thousands, union_of_keys, without_name};
use super::paint::{Paint, Tone};

/// Shorter waits are not worth a word.
const WAIT_SHOWN: Duration = Duration::from_millis(100);

/// What came of the run.
pub(super) fn headline(paint: Paint, mode: Mode, summary: &Summary) -> String {
    let total = summary.total();
    let (tone, result) = result(mode, summary, &total);
    let mut lines = warnings(mode, summary)
        .iter()
        .map(|warning| paint.tone(Tone::Bad, warning))
        .collect::<Vec<_>>();
    lines.push(paint.tone(tone, &result));
    lines.join("\n")
}

fn result(mode: Mode, summary: &Summary, total: &Tally) -> (Tone, String) {
    let keys = union_of_keys(summary);
    let differing = total.differing();
    if differing == 0 {
        return in_sync(summary, keys);
    }
    let differ = format!(
        "{} of {} differ{}",
        thousands(differing),
        count(keys, "key"),
        if keys == 1 { "s" } else { "" }
    );
    match mode {
        Mode::Diff => (Tone::Mixed, differ),
        Mode::Plan => (
            Tone::Mixed,
            format!(
                "{differ}, {} would be repaired (dry run: nothing was written)",
                thousands(summary.verdict("planned"))
            ),
        ),
        Mode::Repair => repaired(summary, total),
    }
}

fn in_sync(summary: &Summary, keys: u64) -> (Tone, String) {
    let seen = summary.replicas.iter().filter(|one| one.lost.is_none());
    let on = count(seen.count() as u64, "replica");
    if summary.interrupted && keys == 0 {
        (Tone::Mixed, "nothing was compared yet".into())
    } else if summary.interrupted {
        (Tone::Mixed, "no difference was found so far".into())
    } else if summary.is_partial() {
        let text = format!("no difference in {} on {on}", count(keys, "key"));
        (Tone::Mixed, text)
    } else if keys == 0 {
        (
            Tone::Good,
            format!("in sync: there is no key to compare on {on}"),
        )
    } else {
        (
            Tone::Good,
            format!("in sync: {} on {on}", count(keys, "key")),
        )
    }
}

fn repaired(summary: &Summary, total: &Tally) -> (Tone, String) {
    let differing = count(total.differing(), "differing key");
    let text = format!("repaired {} of {differing}", thousands(total.repaired));
    let left = thousands(total.left);
    match (total.repaired, total.left) {
        // Where the run ended early, there may be more than it came to see.
        (_, 0) if summary.interrupted || summary.limit_reached => {
            (Tone::Mixed, format!("{text} seen so far, all verified"))
        }
        (_, 0) => (Tone::Good, format!("{text}, all verified")),
        (0, _) => (Tone::Bad, format!("{text}, {left} left")),
        (_, _) => (Tone::Mixed, format!("{text}, each verified, {left} left")),
    }
}

/// Why the result is not the whole truth.
fn warnings(mode: Mode, summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let stops = match mode {
        Mode::Repair => ("STOPPED", "were to be"),
        Mode::Plan | Mode::Diff => ("a repair would STOP", "would be"),
    };
    lines.extend(summary.tripped.iter().map(|one| tripped(stops, one)));
    if summary.interrupted {
        lines.push("INTERRUPTED: what follows is what was done until then".into());
    }
    let forgot = summary.forgetful.iter().filter(|one| one.known);
    lines.extend(forgot.map(|one| format!("FORGOT: {one}")));
    for replica in &summary.replicas {
        if let Some(reason) = &replica.lost {
            lines.push(lost(&replica.name, replica.keys, reason));
        }
    }
    for (verdict, words) in [("unreadable", "read"), ("unfinished", "finished")] {
        let keys = summary.verdict(verdict);
        if keys > 0 {
            lines.push(format!(
                "PARTIAL: {} could not be {words}",
                count(keys, "key")
            ));
        }
    }
    lines
}

pub(super) fn tripped((begin, were): (&str, &str), tripped: &Tripped) -> String {
    let (what, name) = match tripped.what {
        Destruction::Overwrite => ("overwritten", tripped.what.name()),
        Destruction::Delete => ("deleted", tripped.what.name()),
    };
    format!(
        "{begin}: {} of the {} that {} holds {were} {what}, {} are allowed (guards.max_{name}_ratio)",
        thousands(tripped.keys),
        count(tripped.held, "key"),
        tripped.replica,
        thousands(tripped.limit),
    )
}

fn lost(name: &ReplicaName, keys: u64, reason: &str) -> String {
    let reason = without_name(name, reason);
    if keys == 0 {
        format!("PARTIAL: replica {name} took no part: {reason}")
    } else {
        format!("PARTIAL: replica {name} was lost on the way: {reason}")
    }
}

/// What else there is to know, and what to do next.
pub(super) fn closing(paint: Paint, mode: Mode, summary: &Summary) -> String {
    let mut lines = asides(summary);
    lines.push(paint.dim(&took(summary)));
    lines.extend(
        next(mode, summary)
            .iter()
            .map(|step| format!("{} {step}", paint.bold("next:"))),
    );
    lines.join("\n")
}

fn asides(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let new = summary.forgetful.iter().filter(|one| !one.known);
    lines.extend(new.map(ToString::to_string));
    if let Some(resumed) = summary.resumed {
        let (run, finished, all) = (resumed.run, resumed.finished, resumed.segments);
        lines.push(format!(
            "resumed run {run}: {finished} of {all} segments were finished, and are not read again"
        ));
        if resumed.left > 0 {
            let keys = count(resumed.left, "key");
            lines.push(format!(
                "{keys} of those segments had been left: no rule decides them"
            ));
        }
    }
    if summary.learned > 0 {
        let keys = count(summary.learned, "key");
        lines.push(format!("{keys} learned: alike, and remembered from now on"));
    }
    if summary.limit_reached {
        lines.push("the limit ended the run before all differing keys were looked at".into());
    }
    if summary.in_flight > 0 {
        lines.push(format!(
            "{} in flight: still moving between two looks, left to the next run",
            count(summary.in_flight, "key")
        ));
    }
    if summary.expiring > 0 {
        lines.push(format!(
            "{} expiring: about to end within the horizon, left alone",
            count(summary.expiring, "key")
        ));
    }
    if summary.markers_seen {
        lines.push("the replicas carry markers of a reknit that keeps an agreement".into());
    }
    lines.extend(waits(summary));
    lines
}

/// What each replica was waited for, in a line.
fn waits(summary: &Summary) -> Vec<String> {
    let names = summary.replicas.iter().map(|replica| &replica.name);
    let line = |name: &ReplicaName| {
        let own = summary.waits.iter().filter(|(replica, ..)| replica == name);
        let own = own.filter(|(.., waited)| *waited >= WAIT_SHOWN);
        let parts: Vec<String> = own
            .map(|(_, reason, waited)| format!("{} {}", reason.name(), duration(*waited)))
            .collect();
        (!parts.is_empty()).then(|| format!("waited for {name}: {}", parts.join(", ")))
    };
    names.filter_map(line).collect()
}

fn took(summary: &Summary) -> String {
    let passes = match summary.passes {
        0 | 1 => String::new(),
        passes => format!(", keys read in {passes} passes"),
    };
    let span = duration(millis(summary.ended.0 - summary.started.0));
    let run = summary.run.map_or_else(String::new, |run| {
        format!("; run {run} in the log (`reknit runs show {run}`)")
    });
    format!("took {span}{passes}{run}")
}

fn next(mode: Mode, summary: &Summary) -> Vec<String> {
    let total = summary.total();
    let mut steps = Vec::new();
    let lost: Vec<&str> = summary
        .replicas
        .iter()
        .filter(|replica| replica.lost.is_some())
        .map(|replica| replica.name.0.as_str())
        .collect();
    if !lost.is_empty() {
        let names = list(&lost);
        steps.push(format!(
            "see to {names} (`reknit check` says more), then run again"
        ));
    }
    steps.extend(forced(summary));
    match mode {
        Mode::Diff if total.left > 0 => {
            steps.push("run `reknit repair` with the same arguments".into());
        }
        Mode::Plan if summary.verdict("planned") > 0 => {
            steps.push("run again without `--dry-run` to write this".into());
        }
        Mode::Diff | Mode::Plan => {}
        Mode::Repair => steps.extend(after_repair(summary)),
    }
    if summary.interrupted {
        steps.push("run again: every key is either as it was or repaired whole".into());
    } else if summary.limit_reached && summary.verdict("over-limit") == 0 {
        steps.push("run again with a greater `--limit`, or without".into());
    } else if steps.is_empty() && summary.in_flight > 0 {
        let verb = if summary.in_flight == 1 {
            "was"
        } else {
            "were"
        };
        let keys = count(summary.in_flight, "key");
        steps.push(format!("run again: {keys} {verb} in flight"));
    }
    steps
}

/// What to do about limits that are in the way.
fn forced(summary: &Summary) -> Option<String> {
    let most = |what: Destruction| {
        let of_what = summary.tripped.iter().filter(|one| one.what == what);
        let flag = format!("--force-{}s", what.name());
        Some(format!("`{flag} {}`", of_what.map(|one| one.keys).max()?))
    };
    let kinds = [Destruction::Delete, Destruction::Overwrite];
    let flags: Vec<String> = kinds.into_iter().filter_map(most).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let why = match summary.run {
        Some(_) => ", and say why with `--reason`",
        None => "",
    };
    (!flags.is_empty()).then(|| {
        format!(
            "see whether a replica was emptied, restored or written wrongly; if this is meant, run again with {}{why}",
            list(&flags)
        )
    })
}

/// A step for each verdict that leaves a key different.
fn after_repair(summary: &Summary) -> Vec<String> {
    let steps = [
        (
            "over-limit",
            "run again with a greater `--limit`, or without, for",
        ),
        ("superseded", "run again when clients write less to"),
        ("refused", "remove what made a replica refuse the write of"),
        (
            "unresolved",
            "ask `reknit explain KEY` why nothing was decided for",
        ),
        ("unreadable", "ask `reknit check` about permissions to read"),
    ];
    steps
        .into_iter()
        .filter(|(verdict, _)| summary.verdict(verdict) > 0)
        .map(|(verdict, step)| format!("{step} {}", count(summary.verdict(verdict), "key")))
        .collect()
}
