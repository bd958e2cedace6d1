//! The log of runs, and what one of them wrote, for people.

use comfy_table::Cell;

use super::super::runs::{LoggedRun, LoggedState, LoggedWrite, RunsReport};
use super::super::shape::Shape;
use super::super::text::{count, duration, expiry, holding, millis, quoted, tame, thousands, time};
use super::joined;
use super::paint::{Paint, Tone};
use super::tables::{framed, table};
use crate::model::Expiry;

pub(in crate::report) fn runs(shape: &Shape, report: &RunsReport) -> String {
    let paint = Paint(shape.colour);
    if report.runs.is_empty() {
        return "no runs with memory yet\n".into();
    }
    let left_out = match report.left_out {
        0 => String::new(),
        more => format!("{} earlier, `--limit` shows more", count(more, "run")),
    };
    let next = "`reknit runs show RUN` tells what it wrote, `reknit undo RUN` puts it back";
    joined([rows(shape, report), left_out, paint.dim(next)])
}

fn rows(shape: &Shape, report: &RunsReport) -> String {
    let head = ["run", "began", "took", "what", "result", "counts", "note"];
    let mut table = table(shape, &head);
    for run in &report.runs {
        let tone = tone(run);
        table.add_row([
            Cell::new(run.number),
            Cell::new(time(run.started)),
            Cell::new(took(run)),
            Cell::new(&run.purpose),
            Cell::new(result(run)).fg(tone.colour()),
            Cell::new(counts(run)),
            Cell::new(run.note.as_deref().map_or_else(|| "–".into(), tame)),
        ]);
    }
    framed(shape, table)
}

fn tone(run: &LoggedRun) -> Tone {
    match run.exit_code {
        Some(0) => Tone::Good,
        Some(1 | 3) | None => Tone::Mixed,
        Some(_) => Tone::Bad,
    }
}

fn took(run: &LoggedRun) -> String {
    run.ended.map_or_else(
        || "–".into(),
        |ended| duration(millis(ended.0 - run.started.0)),
    )
}

fn result(run: &LoggedRun) -> String {
    match (&run.result, run.taken_up_by) {
        (Some(result), _) => result.clone(),
        (None, Some(by)) => format!("killed: taken up by run {by}"),
        (None, None) => "not ended: killed, or under way".into(),
    }
}

fn counts(run: &LoggedRun) -> String {
    let shown = [
        "repaired", "left", "undone", "changed", "kept", "left-out", "missed", "deletes", "learned",
    ];
    let shown = shown.into_iter().filter_map(|name| {
        let count = run.counts.get(name)?;
        Some(format!("{} {name}", thousands(*count)))
    });
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => "–".into(),
        false => shown.join(", "),
    }
}

/// What is said of a run before its writes.
pub(in crate::report) fn run_head(shape: &Shape, run: &LoggedRun) -> String {
    let paint = Paint(shape.colour);
    let names: Vec<&str> = run.replicas.iter().map(|name| name.0.as_str()).collect();
    let title = format!("run {}: {}, {}", run.number, run.purpose, result(run));
    let mut lines = vec![
        paint.tone(tone(run), &title),
        format!(
            "began {}, took {}, over {}",
            time(run.started),
            took(run),
            names.join(", ")
        ),
    ];
    if !run.counts.is_empty() {
        let counts = run.counts.iter();
        let counts = counts.map(|(name, count)| format!("{} {name}", thousands(*count)));
        lines.push(counts.collect::<Vec<_>>().join(", "));
    }
    lines.extend(
        run.note
            .as_ref()
            .map(|note| format!("note: {}", tame(note))),
    );
    lines.join("\n") + "\n\n"
}

/// One write, on a line of its own.
pub(in crate::report) fn write(shape: &Shape, write: &LoggedWrite) -> String {
    let paint = Paint(shape.colour);
    let (fate, tone) = match write.applied {
        Some(true) => ("applied", Tone::Good),
        Some(false) => ("not applied", Tone::Mixed),
        None => ("unknown", Tone::Bad),
    };
    let db = match write.db.0 {
        0 => String::new(),
        number => format!(" (db {number})"),
    };
    format!(
        "{} at {}{db}: {} → {}  {}\n",
        quoted(write.key.as_bytes()),
        write.replica,
        state(&write.before),
        after(write),
        paint.dim(&format!(
            "rule {}, evidence {}, step {}, {}",
            write.rule,
            write.evidence,
            write.step,
            paint.tone(tone, fate)
        )),
    )
}

fn state(state: &LoggedState) -> String {
    let what = match (state.held, state.kind, state.length) {
        (false, _, _) => return "absent".into(),
        (true, Some(kind), Some(length)) => holding(kind, length),
        (true, Some(kind), None) => kind.name().into(),
        (true, None, _) => "a value".into(),
    };
    with_expiry(what, state.expiry)
}

fn after(write: &LoggedWrite) -> String {
    match (write.before.held, write.after.held) {
        (_, false) => "removed".into(),
        (true, true) => with_expiry("overwritten".into(), write.after.expiry),
        (false, true) => with_expiry("added".into(), write.after.expiry),
    }
}

fn with_expiry(what: String, until: Expiry) -> String {
    match until {
        Expiry::Never => what,
        Expiry::At(_) => format!("{what} until {}", expiry(until)),
    }
}

/// What is said behind the writes.
pub(in crate::report) fn run_foot(said: u64, left_out: u64) -> String {
    match (said, left_out) {
        (0, 0) => "nothing is in the journal\n".into(),
        (_, 0) => format!("\n{}\n", count(said, "write")),
        (_, more) => format!(
            "\n{}, {} more: `--limit` shows more\n",
            count(said, "write"),
            thousands(more)
        ),
    }
}
