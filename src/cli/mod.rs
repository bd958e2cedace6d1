//! The command line: what it takes ([`args`]), which keys it means ([`selection`]), and what each command does with
//! it. No logic of a run.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::Exit;

mod ask;
mod begin;
mod beside;
mod client;
mod commands;
mod demo;
mod functions;
mod import;
mod inspect;
mod log;
mod remote;
mod reports;
mod roster;
mod runs;
mod service;
mod undo;

pub mod args;
pub mod limits;
pub mod selection;
pub mod source;

use args::{Cli, ColorWhen, Command};

/// Runs the command line of this process to its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refusal) => return refuse(&refusal),
    };
    log::begin(&cli);
    // One thread waits for all servers; each scan has one of its own, and trees are built on others. Threads that wake
    // each other for every answer would cost more than what they do.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let stop = CancellationToken::new();
    let exit = runtime.block_on(async {
        // Before anything is begun: a signal that comes early must not end the process where it stands.
        let signals = Signals::new()?;
        tokio::spawn(signals.watch(stop.clone()));
        execute(&cli, stop).await
    });
    // Whatever still waits for a server is of no interest any more.
    runtime.shutdown_background();
    match exit {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn execute(cli: &Cli, stop: CancellationToken) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Diff(args) => commands::diff(&cli.global, args, stop).await,
        Command::Repair(args) => commands::repair(&cli.global, args, stop).await,
        Command::Demo(args) => demo::demo(&cli.global, args, stop).await,
        Command::Completions(args) => {
            let mut out = commands::stdout();
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "reknit", &mut script);
            commands::told(out.write_all(&script).and_then(|()| out.flush()))?;
            Ok(Exit::InSync)
        }
        Command::Run(args) => service::run(args, stop).await,
        Command::Status(args) => ask::status(&cli.global, args, stop).await,
        Command::Pause(args) => ask::set_paused(&cli.global, args, true, stop).await,
        Command::Resume(args) => ask::set_paused(&cli.global, args, false, stop).await,
        Command::Cancel(args) => ask::cancel(&cli.global, args, stop).await,
        Command::Limits(args) => ask::limits(&cli.global, args, stop).await,
        Command::RunNow(args) => begin::run_now(&cli.global, args, stop).await,
        Command::Reload(args) => ask::reload(&cli.global, args, stop).await,
        Command::Check(args) => inspect::check(&cli.global, args, stop).await,
        Command::Functions(args) => functions::functions(args, stop).await,
        Command::Import(args) => import::import(args),
        Command::Explain(args) => inspect::explain(&cli.global, args, stop).await,
        Command::Runs(args) => runs::runs(&cli.global, args, stop).await,
        Command::Undo(args) => undo::undo(&cli.global, args, stop).await,
        Command::Forget(args) => roster::forget(args),
        Command::Rename(args) => roster::rename(args),
        Command::Clean(args) => inspect::clean(&cli.global, args, stop).await,
    }
}

/// The signals that end a command.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Held so that it does not kill: a write beyond a limit of the file size then fails with an error of its own.
    _file_size: Signal,
}

/// SIGXFSZ.
const FILE_SIZE: i32 = 25;

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE))?,
        })
    }

    /// The first signal asks the run to stop; the second ends the process.
    async fn watch(mut self, stop: CancellationToken) {
        for attempt in 0..2 {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if attempt == 0 {
                tracing::warn!("stopping; once more to stop at once");
                stop.cancel();
            }
        }
        std::process::exit(i32::from(Exit::Interrupted.code()));
    }
}

fn refuse(refusal: &args::Refusal) -> ExitCode {
    let no_color = commands::no_color();
    let text = |is_terminal| match ColorWhen::Auto.enabled(is_terminal, no_color.as_deref()) {
        true => &refusal.styled,
        false => &refusal.text,
    };
    let shown = if refusal.asked_for {
        let shown = text(std::io::stdout().is_terminal());
        write_to(&mut std::io::stdout(), shown)
    } else {
        let shown = text(std::io::stderr().is_terminal());
        write_to(&mut std::io::stderr(), shown)
    };
    match shown {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            fail(&anyhow::Error::from(error).context("cannot write to standard output"))
        }
        _ => ExitCode::from(refusal.exit_code()),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Nobody is left to be told if stderr is closed.
    let _ = write_to(&mut std::io::stderr(), &format!("reknit: {error:#}\n"));
    ExitCode::from(commands::exit_of_error(error).code())
}

fn write_to(out: &mut dyn Write, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
