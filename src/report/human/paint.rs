//! Colours, where they were asked for.

use comfy_table::Color;

/// Puts colours around text, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(super) fn tone(self, tone: Tone, text: &str) -> String {
        self.wrap(tone.code(), text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }
}

/// How good the news is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Mixed,
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "1;32",
            Self::Mixed => "1;33",
            Self::Bad => "1;31",
        }
    }

    pub(super) fn colour(self) -> Color {
        match self {
            Self::Good => Color::Green,
            Self::Mixed => Color::Yellow,
            Self::Bad => Color::Red,
        }
    }
}
