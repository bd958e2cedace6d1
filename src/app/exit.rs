//! Exit codes, as scripts rely on them.

use crate::repair::{Mode, Summary};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// In sync, or repaired and verified.
    InSync,
    /// Divergence found, or left.
    Diverged,
    /// Usage, configuration, or fewer than two replicas reached.
    Trouble,
    /// A replica, a segment or a key did not take part.
    Partial,
    /// Stopped by a guard, a window or a lock.
    Stopped,
    /// Ended by a signal.
    Interrupted,
}

impl Exit {
    /// The process exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::InSync => 0,
            Self::Diverged => 1,
            Self::Trouble => 2,
            Self::Partial => 3,
            Self::Stopped => 4,
            Self::Interrupted => 130,
        }
    }
}

/// How a run ends that came to a summary.
pub fn exit_of(summary: &Summary, mode: Mode) -> Exit {
    let total = summary.total();
    let left = match mode {
        Mode::Diff | Mode::Plan => total.differing(),
        Mode::Repair => total.left + summary.resumed.map_or(0, |resumed| resumed.left),
    };
    if summary.interrupted {
        Exit::Interrupted
    } else if mode == Mode::Repair && !summary.tripped.is_empty() {
        Exit::Stopped
    } else if summary.is_partial() {
        Exit::Partial
    } else if left > 0 || summary.limit_reached {
        Exit::Diverged
    } else {
        Exit::InSync
    }
}
