//! What an undo did, for people.

use super::super::shape::Shape;
use super::super::text::{count, quoted, thousands, without_name};
use super::headline::tripped;
use super::joined;
use super::paint::{Paint, Tone};
use crate::repair::{UndoFate, UndoFinding, UndoSummary};

pub(in crate::report) fn undo(
    shape: &Shape,
    (run, dry_run): (u64, bool),
    summary: &UndoSummary,
    kept: &[UndoFinding],
) -> String {
    let paint = Paint(shape.colour);
    joined([
        warnings(paint, dry_run, summary),
        headline(paint, run, dry_run, summary),
        writes(paint, summary, kept),
        closing(paint, dry_run, summary),
    ])
}

fn warnings(paint: Paint, dry_run: bool, summary: &UndoSummary) -> String {
    let mut lines = Vec::new();
    let stops = match dry_run {
        true => ("the undo would STOP", "would be"),
        false => ("STOPPED", "were to be"),
    };
    lines.extend(summary.tripped.iter().map(|one| tripped(stops, one)));
    if summary.interrupted {
        lines.push("INTERRUPTED: what follows is what was done until then".to_owned());
    }
    let forgot = summary.forgetful.iter().filter(|one| one.known);
    lines.extend(forgot.map(|one| format!("FORGOT: {one}")));
    lines.extend(summary.lost.iter().map(|(name, reason)| {
        let reason = without_name(name, reason);
        format!("PARTIAL: replica {name} took no part: {reason}")
    }));
    let lines: Vec<String> = lines
        .iter()
        .map(|line| paint.tone(Tone::Bad, line))
        .collect();
    lines.join("\n")
}

fn headline(paint: Paint, run: u64, dry_run: bool, summary: &UndoSummary) -> String {
    let all: u64 = summary.counts.values().sum();
    let writes = count(all, "write");
    if all == 0 {
        let text = format!("run {run} wrote nothing that is in the journal and selected");
        return paint.tone(Tone::Mixed, &text);
    }
    if dry_run {
        let text = format!(
            "{} of {writes} of run {run} would be put back (dry run: nothing was written)",
            thousands(summary.count("planned"))
        );
        return paint.tone(Tone::Mixed, &text);
    }
    let undone = summary.count("undone");
    let tone = if undone == all {
        Tone::Good
    } else {
        Tone::Mixed
    };
    let text = format!("put back {} of {writes} of run {run}", thousands(undone));
    paint.tone(tone, &text)
}

fn writes(paint: Paint, summary: &UndoSummary, kept: &[UndoFinding]) -> String {
    let mut lines: Vec<String> = kept.iter().map(|finding| line(paint, finding)).collect();
    let all: u64 = summary.counts.values().sum();
    let more = all.saturating_sub(kept.len() as u64);
    if more > 0 {
        lines.push(format!("and {} more, `--show` shows more", thousands(more)));
    }
    lines.join("\n")
}

fn line(paint: Paint, finding: &UndoFinding) -> String {
    let (tone, words) = match &finding.fate {
        UndoFate::Planned => (Tone::Mixed, format!("would {}", finding.ops.join(", "))),
        UndoFate::Undone => (Tone::Good, finding.ops.join(", ")),
        UndoFate::Changed => (Tone::Mixed, "kept: it was written since".into()),
        UndoFate::Missed(reason) => (Tone::Bad, format!("missed: {reason}")),
        UndoFate::LeftOut => (Tone::Mixed, "left out by --replica".into()),
        UndoFate::Kept(reason) => (Tone::Mixed, format!("kept: {reason}")),
    };
    let db = match finding.db.0 {
        0 => String::new(),
        number => format!(" (db {number})"),
    };
    let key = quoted(finding.key.as_bytes());
    format!(
        "{key} at {}{db}: {}",
        finding.replica,
        paint.tone(tone, &words)
    )
}

fn closing(paint: Paint, dry_run: bool, summary: &UndoSummary) -> String {
    let next = |text: &str| format!("{} {text}", paint.bold("next:"));
    if !summary.tripped.is_empty() {
        next(
            "if that is meant, say so with `--force-overwrites N` or `--force-deletes N`, and why with `--reason`",
        )
    } else if dry_run && summary.count("planned") > 0 {
        next("run again without `--dry-run` to write this")
    } else if summary.count("undone") > 0 && !summary.holds {
        next("a repair would write the same again: change what it decides by before you run one")
    } else if summary.count("undone") > 0 {
        next("what was put back is not repaired again until `reknit repair --key KEY` names it")
    } else {
        String::new()
    }
}
