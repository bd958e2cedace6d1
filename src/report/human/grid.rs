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
    /// Whether its texts are never cut, even where the line gets too long by that: stamps, sums.
    pub(super) is_whole: bool,
    pub(super) label: String,
    pub(super) cells: Vec<String>,
}

/// The rows under a head, each text cut to the width that its column can have.
pub(super) fn grid(shape: &Shape, head: Vec<String>, rows: &[Row]) -> String {
    let longest = rows.iter().map(|row| row.label.chars().count()).max();
    let label = longest.unwrap_or(0).min(LABELS);
    // Four columns in front of the labels, two behind them and behind each text.
    let room = usize::from(shape.width).saturating_sub(label + 6 + 2 * head.len());
    let least = wanted(&[], rows.iter().filter(|row| row.is_whole), head.len());
    let widths = shares(room, &wanted(&head, rows.iter(), head.len()), &least);
    let mut table = Table::new();
    let names = head
        .iter()
        .zip(&widths)
        .map(|(name, width)| cut(name, *width));
    table.load_preset(NOTHING).set_header(
        std::iter::once(String::new())
            .chain(names)
            .map(|name| Cell::new(name).add_attribute(Attribute::Bold)),
    );
    if shape.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for row in rows {
        let cells = row.cells.iter().zip(&widths);
        let cells = cells.map(|(text, width)| cut(text, *width));
        table.add_row(std::iter::once(cut(&row.label, label)).chain(cells));
    }
    let line = |line: String| format!("   {line}").trim_end().to_owned();
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The longest text of each column.
fn wanted<'a>(
    head: &[String],
    rows: impl Iterator<Item = &'a Row> + Clone,
    columns: usize,
) -> Vec<usize> {
    let longest = |index: usize| {
        let cells = rows.clone().filter_map(|row| row.cells.get(index));
        let texts = cells.chain(head.get(index));
        texts.map(|text| text.chars().count()).max().unwrap_or(0)
    };
    (0..columns).map(longest).collect()
}

/// What each column gets: what it wants, but where that is too much, the wide ones share what the others leave. None
/// gets less than the least it can do with.
fn shares(room: usize, wanted: &[usize], least: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = wanted.to_vec();
    order.sort_unstable();
    let (mut left, mut most) = (room, room);
    for (place, want) in order.iter().enumerate() {
        most = left / (order.len() - place);
        if *want > most {
            break;
        }
        left -= want;
        most = most.max(*want);
    }
    let most = most.max(NARROWEST);
    let columns = wanted.iter().zip(least);
    columns
        .map(|(want, least)| (*want).min(most).max(*least))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_columns_share_what_narrow_ones_leave() {
        let of = |room, wanted: &[usize]| shares(room, wanted, &vec![0; wanted.len()]);
        assert_eq!(of(100, &[10, 20, 30]), [10, 20, 30]);
        assert_eq!(of(100, &[10, 200, 6]), [10, 84, 6]);
        assert_eq!(of(100, &[90, 200, 10]), [45, 45, 10]);
        assert_eq!(of(3, &[90, 4]), [NARROWEST, 4]);
        assert_eq!(of(3, &[]), [0; 0]);
        assert_eq!(shares(60, &[90, 200, 10], &[0, 30, 10]), [25, 30, 10]);
    }
}
