//! A progress bar on standard error while a run goes. It shows; it decides nothing.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::repair::{Phase, Progress};

use super::text::thousands;

/// How often the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(200);

const COUNTED: &str =
    "{spinner} {msg} {bar:24} {human_pos} of {human_len} keys, {rate}, {eta} left";
const UNCOUNTED: &str = "{spinner} {msg}";

/// A bar that is drawn until it is stopped.
pub struct Watch {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watch {
    /// Clears the bar and waits until it is gone.
    pub async fn stop(self) {
        self.stop.cancel();
        // A bar that panicked is gone as well.
        let _ = self.task.await;
    }
}

/// Draws how far a run has come, until [`Watch::stop`]; nothing where standard error is no terminal.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watch(progress: Arc<Progress>) -> Watch {
    let stop = CancellationToken::new();
    let task = tokio::spawn(draw(progress, stop.clone()));
    Watch { stop, task }
}

async fn draw(progress: Arc<Progress>, stop: CancellationToken) {
    let bar = ProgressBar::new(0);
    let mut shown = None;
    let mut interval = tokio::time::interval(INTERVAL);
    while !stop.is_cancelled() {
        let view = View::of(&progress);
        let kind = (view.phase, view.length > 0);
        if shown != Some(kind) {
            bar.set_style(style(kind.1));
            bar.set_message(view.message);
            bar.reset();
            shown = Some(kind);
        }
        bar.set_length(view.length);
        bar.set_position(view.position);
        bar.tick();
        tokio::select! {
            _ = interval.tick() => {}
            () = stop.cancelled() => {}
        }
    }
    bar.finish_and_clear();
}

fn style(is_counted: bool) -> ProgressStyle {
    let template = if is_counted { COUNTED } else { UNCOUNTED };
    ProgressStyle::with_template(template)
        .expect("the templates are constants")
        .with_key("rate", rate)
        .progress_chars("━╸ ")
}

fn rate(state: &ProgressState, out: &mut dyn Write) {
    // The bar's writer cannot fail.
    let _ = write!(out, "{}/s", thousands(state.per_sec().round() as u64));
}

/// What the bar shows at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    phase: Phase,
    message: &'static str,
    position: u64,
    length: u64,
}

impl View {
    fn of(progress: &Progress) -> Self {
        let phase = progress.phase();
        let (message, position, length) = match phase {
            Phase::Scanning => (
                "reading",
                progress.scanned(),
                progress.expected.load(Ordering::Relaxed),
            ),
            Phase::Comparing => ("comparing", 0, 0),
            Phase::Settling => ("waiting for writes in flight to arrive", 0, 0),
            Phase::Deciding => (
                "deciding",
                progress.decided.load(Ordering::Relaxed),
                progress.candidates.load(Ordering::Relaxed),
            ),
        };
        Self {
            phase,
            message,
            position,
            // Keys that were added since they were counted must not make it more than all.
            length: length.max(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_counts_what_it_works_on() {
        let progress = Progress::default();
        progress.expected.store(10, Ordering::Relaxed);
        let view = View::of(&progress);
        assert_eq!(
            (view.message, view.position, view.length),
            ("reading", 0, 10)
        );

        progress.enter(Phase::Deciding);
        progress.candidates.store(3, Ordering::Relaxed);
        progress.decided.store(4, Ordering::Relaxed);
        let view = View::of(&progress);
        assert_eq!(
            (view.message, view.position, view.length),
            ("deciding", 4, 4)
        );
    }

    #[test]
    fn the_templates_can_be_read() {
        let _ = (style(true), style(false));
    }

    #[tokio::test]
    async fn a_bar_ends_when_it_is_told() {
        watch(Arc::new(Progress::default())).stop().await;
    }
}
