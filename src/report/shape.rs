//! The shape of what is printed.

use crate::cli::args::Format;

/// The form of the output, and how it looks where people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The form.
    pub format: Format,
    /// Whether the human form has colours.
    pub colour: bool,
    /// How many columns the human form may take.
    pub width: u16,
}

impl Shape {
    /// The width of a page that is not a terminal.
    pub const PAGE: u16 = 120;

    /// Narrower than this, nothing is readable: a terminal that says so is taken for this wide.
    pub const NARROWEST: u16 = 60;

    /// A page for people that is no terminal.
    pub fn page() -> Self {
        Self {
            format: Format::Human,
            colour: false,
            width: Self::PAGE,
        }
    }

    /// A shape as wide as the terminal, or as a page.
    pub fn new(format: Format, colour: bool) -> Self {
        // Some terminals do not know their width, and say zero.
        let known = comfy_table::Table::new().width();
        let width = known.filter(|width| *width > 0).unwrap_or(Self::PAGE);
        Self {
            format,
            colour,
            width: width.max(Self::NARROWEST),
        }
    }
}
