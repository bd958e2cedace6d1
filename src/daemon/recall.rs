//! The memory of a service: open as long as it serves, and opened anew after its disk failed.
//!
//! Once a write to the state directory failed, nothing more is written to it until it is opened again: what is in memory
//! may not be what is on disk. A command ends there; a service lets go of it, and opens it before the next run. While it
//! cannot be opened, no run begins: one without memory would bring back what was deleted.

use crate::app::{Memory, Trouble, open_for_service};
use crate::clock::Clock;
use crate::config::Config;
use crate::state::State;

/// What a service remembers.
pub(super) struct Recall {
    memory: Option<Memory>,
    /// Whether there is to be one.
    is_wanted: bool,
    /// Where the service is asked.
    url: String,
}

impl Recall {
    /// What was opened when the service began; nothing for one without memory.
    pub(super) fn new(memory: Option<Memory>, url: String) -> Self {
        Self {
            url,
            is_wanted: memory.is_some(),
            memory,
        }
    }

    /// The memory as it stands: nothing without one, or while it could not be opened again.
    pub(super) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// Opens what failed anew. `lend` is told of the state that others may read meanwhile: nothing while it is closed.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn mend(
        &mut self,
        config: &Config,
        clock: &dyn Clock,
        lend: impl Fn(Option<State>),
    ) -> Result<(), Trouble> {
        let is_broken = |memory: &Memory| memory.state.is_broken();
        if self.memory.as_ref().is_some_and(is_broken) {
            tracing::warn!("the state directory failed, and is opened again");
            // All that hold it let go of it, and with it of the lock.
            lend(None);
            self.memory = None;
        }
        if self.is_wanted && self.memory.is_none() {
            self.memory = open_for_service(config, &self.url, clock)?;
            lend(self.memory.as_ref().map(|memory| memory.state.clone()));
        }
        Ok(())
    }
}
