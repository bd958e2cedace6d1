//! A progress bar on standard error while a run goes. It shows; it decides nothing.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::repair::{Phase, Progress};

use super::text::{duration, thousands};

/// How often the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(200);

/// Keys of so many.
const COUNTED: &str =
    "{spinner} {msg} {bar:24} {human_pos} of {human_len} keys, {rate}, {left} left";
/// Keys, and nobody knows of how many.
const COUNTING: &str = "{spinner} {msg} {human_pos} keys, {rate}";
/// No keys.
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
        let kind = (view.phase, view.template());
        if shown != Some(kind) {
            bar.reset();
        }
        bar.set_length(view.length.unwrap_or(view.position));
        bar.set_position(view.position);
        if shown != Some(kind) {
            bar.set_style(style(view.template()));
            bar.set_message(view.message);
            shown = Some(kind);
        }
        bar.tick();
        tokio::select! {
            _ = interval.tick() => {}
            () = stop.cancelled() => {}
        }
    }
    bar.finish_and_clear();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants")
        .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            // The bar's writer cannot fail.
            let _ = write!(out, "{}/s", thousands(rate(state).round() as u64));
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn Write| {
            let _ = write!(out, "{}", left(state));
        })
        .progress_chars("━╸ ")
}

/// Keys per second since the phase began.
fn rate(state: &ProgressState) -> f64 {
    let elapsed = state.elapsed().as_secs_f64();
    // Until the first interval has passed, it would be a guess.
    if elapsed < INTERVAL.as_secs_f64() {
        return 0.0;
    }
    state.pos() as f64 / elapsed
}

/// How long the rest takes at this rate.
fn left(state: &ProgressState) -> String {
    let rest = state.len().unwrap_or(0).saturating_sub(state.pos());
    match Duration::try_from_secs_f64(rest as f64 / rate(state)) {
        Ok(left) => duration(Duration::from_secs(left.as_secs_f64().ceil() as u64)),
        Err(_) => "some time".into(),
    }
}

/// What the bar shows at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    phase: Phase,
    message: &'static str,
    position: u64,
    /// Of how many; nothing where that is not known.
    length: Option<u64>,
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
            length: (length > 0).then_some(length.max(position)),
        }
    }

    fn template(&self) -> &'static str {
        match (self.phase, self.length) {
            (Phase::Scanning | Phase::Deciding, Some(_)) => COUNTED,
            (Phase::Scanning | Phase::Deciding, None) => COUNTING,
            (Phase::Comparing | Phase::Settling, _) => UNCOUNTED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_counts_what_it_works_on() {
        let progress = Progress::default();
        assert_eq!(View::of(&progress).template(), COUNTING);
        progress.expected.store(10, Ordering::Relaxed);
        let view = View::of(&progress);
        assert_eq!(
            (view.message, view.position, view.length),
            ("reading", 0, Some(10))
        );

        progress.enter(Phase::Deciding);
        progress.candidates.store(3, Ordering::Relaxed);
        progress.decided.store(4, Ordering::Relaxed);
        let view = View::of(&progress);
        assert_eq!(
            (view.message, view.position, view.length),
            ("deciding", 4, Some(4))
        );
    }

    #[test]
    fn the_templates_can_be_read() {
        let _ = [COUNTED, COUNTING, UNCOUNTED].map(style);
    }

    #[tokio::test]
    async fn a_bar_ends_when_it_is_told() {
        watch(Arc::new(Progress::default())).stop().await;
    }
}
