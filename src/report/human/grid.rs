//! Siblings side by side: a column for each replica, a row for each thing they may differ in.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Table};

use super::super::shape::Shape;
use super::super::text::cut;

/// No column is cut below this: a line that is too long is better than nothing on it.
const NARROWEST: usize = 12;

/// How many columns the labels may take.
const LABELS: usize = 28;

/// A row: its label, and a text for each column.
pub(super) struct Row {
    pub(super) label: String,
    pub(super) cells: Vec<String>,
}

/// The rows under a head, each text cut to the width that its column can have.
pub(super) fn grid(shape: &Shape, head: Vec<String>, rows: &[Row]) -> String {
    let columns = head.len().max(1);
    let label = rows.iter().map(|row| row.label.chars().count()).max();
    let label = label.unwrap_or(0).min(LABELS);
    // Four columns in front of the labels, two behind each text.
    let left = usize::from(shape.width).saturating_sub(label + 6);
    let width = (left / columns).saturating_sub(2).max(NARROWEST);
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(
        std::iter::once(String::new())
            .chain(head)
            .map(|name| Cell::new(cut(&name, width)).add_attribute(Attribute::Bold)),
    );
    if shape.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for row in rows {
        let cells = row.cells.iter().map(|text| cut(text, width));
        table.add_row(std::iter::once(cut(&row.label, label)).chain(cells));
    }
    let lines: Vec<String> = table.lines().map(|line| format!("   {line}")).collect();
    lines
        .iter()
        .map(|line| line.trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}
