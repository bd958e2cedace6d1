//! Where the demo speaks, and how it runs reknit.

use std::io::{self, ErrorKind, Write};
use std::num::NonZeroUsize;

use tokio_util::sync::CancellationToken;

use crate::app::{Exit, Fleet, Plan, exit_of, expect, plan, preflight};
use crate::clock::{Clock, SystemClock};
use crate::config::{AdHoc, AdHocReplica, Config};
use crate::model::{Key, KeyspaceName, Millis, Selection};
use crate::repair::{self, Listener, Mode};
use crate::report::{Report, progress};

use super::servers::{Server, Servers};
use super::{Demo, DemoError};

/// The pipeline of the demo's runs: nobody waits behind it.
pub(super) const PIPELINE: NonZeroUsize = NonZeroUsize::new(200).expect("it is not zero");

/// Opens the output that the demo and its reports write to.
pub type Opener = fn() -> Box<dyn Write + Send>;

/// Where the demo speaks: each step in a line, with the time it took.
pub(super) struct Stage<'a> {
    demo: &'a Demo,
    /// Nothing once its reader has gone: the demo goes on in silence.
    out: Option<Box<dyn Write + Send>>,
    opened: Millis,
    began: Millis,
}

impl<'a> Stage<'a> {
    pub(super) fn new(demo: &'a Demo) -> Self {
        let now = SystemClock.now();
        Self {
            demo,
            out: Some((demo.open)()),
            opened: now,
            began: now,
        }
    }

    /// Says a line.
    pub(super) fn say(&mut self, line: &str) -> Result<(), DemoError> {
        self.put(&format!("{line}\n"))
    }

    /// Says what comes, apart from what was before.
    pub(super) fn title(&mut self, line: &str) -> Result<(), DemoError> {
        self.put(&format!("\n{line}\n\n"))
    }

    /// Says what is begun, for [`Self::done`] to end the line.
    pub(super) fn begin(&mut self, step: &str) -> Result<(), DemoError> {
        self.began = SystemClock.now();
        self.put(step)
    }

    /// Says how long it took.
    pub(super) fn done(&mut self) -> Result<(), DemoError> {
        let took = seconds(self.began);
        self.put(&format!(" ({took})\n"))
    }

    /// Says that the demo was stopped.
    pub(super) fn interrupted(&mut self) -> Result<Exit, DemoError> {
        self.put("\nStopped.\n")?;
        Ok(Exit::Interrupted)
    }

    /// How long all of it took.
    pub(super) fn total(&self) -> String {
        seconds(self.opened)
    }

    fn put(&mut self, text: &str) -> Result<(), DemoError> {
        let Some(out) = &mut self.out else {
            return Ok(());
        };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.forgive(written)
    }

    fn forgive(&mut self, written: io::Result<()>) -> Result<(), DemoError> {
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.out = None;
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

/// reknit over the demo's servers, as a command line would name them.
pub(super) struct Runs {
    config: Config,
    fleet: Fleet,
    stop: CancellationToken,
}

impl Runs {
    pub(super) fn new(servers: &Servers, stop: CancellationToken) -> Result<Self, DemoError> {
        let ad_hoc = AdHoc {
            replicas: servers.all().iter().map(replica).collect(),
            ..AdHoc::default()
        };
        let mut config = Config::from_ad_hoc(&ad_hoc, None)?;
        config.limits.pipeline = PIPELINE;
        let fleet = Fleet::new(&config)?;
        Ok(Self {
            config,
            fleet,
            stop,
        })
    }

    /// Every key.
    pub(super) fn all(&self) -> Selection {
        Selection::of(vec![KeyspaceName("default".into())])
    }

    /// These keys alone.
    pub(super) fn selection_of(&self, names: Vec<String>) -> Selection {
        Selection {
            keys: Some(names.iter().map(|name| Key::from(name.as_str())).collect()),
            ..self.all()
        }
    }

    /// One run, reported as the command reports it; so many keys are shown.
    pub(super) async fn run(
        &self,
        stage: &Stage<'_>,
        mode: Mode,
        selection: Selection,
        show: usize,
    ) -> Result<Exit, DemoError> {
        let facts = preflight(
            &self.fleet,
            mode,
            self.config.layout(),
            self.config.keyspaces.iter(),
        )
        .await?;
        let asked = Plan {
            mode,
            limit: None,
            force_markers: false,
            force_overwrites: None,
            force_deletes: None,
        };
        let run = plan(
            &self.config,
            &self.fleet,
            selection,
            asked,
            self.stop.clone(),
        )?;
        expect(&run, &facts);
        let columns = self.fleet.columns();
        let mut report = Report::new(stage.demo.shape, mode, columns, show, (stage.demo.open)());
        let bar = stage.demo.bar;
        let bar = bar.then(|| progress::watch(run.progress.clone()));
        let result = repair::run(&run, &mut report as &mut dyn Listener).await;
        if let Some(bar) = bar {
            bar.stop().await;
        }
        let summary = result?;
        let exit = exit_of(&summary, mode);
        report.finish(&summary, exit.code())?;
        Ok(exit)
    }
}

fn replica(server: &Server) -> AdHocReplica {
    AdHocReplica {
        name: server.name.into(),
        url: server.url(),
        password_file: None,
        password_env: None,
    }
}

/// The time since then, for people.
fn seconds(since: Millis) -> String {
    let millis = SystemClock.now().0.saturating_sub(since.0);
    format!("{:.1} s", millis as f64 / 1_000.0)
}

/// A number with its thousands apart, as reports write it.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
