//! What `clean` found and removed, for people.

use comfy_table::Cell;

use super::super::clean::{CleanReport, CleanedDatabase};
use super::super::shape::Shape;
use super::super::text::{count, thousands, without_name};
use super::joined;
use super::paint::{Paint, Tone};
use super::tables::{framed, number, table};

pub(in crate::report) fn clean(shape: &Shape, report: &CleanReport) -> String {
    let databases = || {
        report
            .replicas
            .iter()
            .flat_map(|replica| &replica.databases)
    };
    let sum = |count: fn(&CleanedDatabase) -> u64| databases().map(count).sum();
    let paint = Paint(shape.colour);
    let removable = sum(|database| database.found - database.kept);
    joined([
        lost(paint, report),
        headline(paint, report, removable, sum(|database| database.removed)),
        kept(sum(|database| database.kept)),
        rows(shape, report),
    ])
}

fn lost(paint: Paint, report: &CleanReport) -> String {
    let lines = report.replicas.iter().filter_map(|replica| {
        let reason = replica.lost.as_ref()?;
        let reason = without_name(&replica.name, reason);
        let name = &replica.name;
        let line = format!("PARTIAL: replica {name} was not cleaned to the end: {reason}");
        Some(paint.tone(Tone::Bad, &line))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What was found, left out what is to be kept.
fn headline(paint: Paint, report: &CleanReport, found: u64, removed: u64) -> String {
    let own = count(found, "key");
    let lost = report.replicas.iter().filter(|one| one.lost.is_some());
    if found == 0 && report.replicas.len() == lost.clone().count() {
        paint.tone(Tone::Bad, "no replica was looked through")
    } else if found == 0 && lost.count() > 0 {
        let text = "nothing of reknit's own is to be removed where it was looked for";
        paint.tone(Tone::Mixed, text)
    } else if found == 0 {
        paint.tone(
            Tone::Good,
            "clean: nothing of reknit's own is to be removed",
        )
    } else if report.dry_run {
        let text = format!("{own} of reknit's own would be removed (dry run: nothing was written)");
        paint.tone(Tone::Mixed, &text)
    } else {
        let tone = if removed == found {
            Tone::Good
        } else {
            Tone::Mixed
        };
        let text = format!("removed {} of {own} of reknit's own", thousands(removed));
        paint.tone(tone, &text)
    }
}

fn kept(markers: u64) -> String {
    match markers {
        0 => String::new(),
        1 => "1 marker is kept, `--markers` removes it too".into(),
        _ => format!(
            "{} are kept, `--markers` removes them too",
            count(markers, "marker")
        ),
    }
}

fn rows(shape: &Shape, report: &CleanReport) -> String {
    let mut table = table(shape, &["replica", "db", "found", "removed", "kept"]);
    let mut any = false;
    for replica in &report.replicas {
        for database in &replica.databases {
            any = true;
            table.add_row([
                Cell::new(&replica.name),
                Cell::new(database.db),
                number(database.found),
                number(database.removed),
                number(database.kept),
            ]);
        }
    }
    if any {
        framed(shape, table)
    } else {
        String::new()
    }
}
