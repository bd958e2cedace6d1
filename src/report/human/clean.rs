//! What `clean` found and removed, for people.

use comfy_table::Cell;

use super::super::clean::CleanReport;
use super::super::shape::Shape;
use super::super::text::{count, thousands};
use super::joined;
use super::paint::{Paint, Tone};
use super::tables::{number, table};

pub(in crate::report) fn clean(shape: &Shape, report: &CleanReport) -> String {
    let databases = || {
        report
            .replicas
            .iter()
            .flat_map(|replica| &replica.databases)
    };
    let found: u64 = databases().map(|database| database.found).sum();
    let removed: u64 = databases().map(|database| database.removed).sum();
    let paint = Paint(shape.colour);
    joined([
        lost(paint, report),
        headline(paint, report.dry_run, found, removed),
        rows(shape, report),
    ])
}

fn lost(paint: Paint, report: &CleanReport) -> String {
    let lines = report.replicas.iter().filter_map(|replica| {
        let reason = replica.lost.as_ref()?;
        let line = format!(
            "PARTIAL: replica {} was not cleaned to the end: {reason}",
            replica.name
        );
        Some(paint.tone(Tone::Bad, &line))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn headline(paint: Paint, dry_run: bool, found: u64, removed: u64) -> String {
    let own = count(found, "key");
    if found == 0 {
        paint.tone(Tone::Good, "clean: nothing of reknit's own was found")
    } else if dry_run {
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

fn rows(shape: &Shape, report: &CleanReport) -> String {
    let mut table = table(shape, &["replica", "db", "found", "removed"]);
    let mut any = false;
    for replica in &report.replicas {
        for database in &replica.databases {
            any = true;
            table.add_row([
                Cell::new(&replica.name),
                Cell::new(database.db),
                number(database.found),
                number(database.removed),
            ]);
        }
    }
    if any { table.trim_fmt() } else { String::new() }
}
