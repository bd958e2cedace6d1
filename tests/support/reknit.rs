//! The binary under test, run with a time limit.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::server::RedisServer;

/// A run that takes longer than this hangs.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// A command line of `reknit`, to be run.
#[derive(Debug)]
pub(crate) struct Reknit {
    command: Command,
    stdin: Option<Vec<u8>>,
    limit: Duration,
    home: TempDir,
}

impl Reknit {
    /// `reknit` with these arguments.
    pub(crate) fn new<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reknit"));
        command.args(args.into_iter().map(Into::into));
        // Never the state of whoever runs the tests: a home of its own, gone with the run.
        let home = tempfile::tempdir().expect("there is room for temporary files");
        command.env("XDG_STATE_HOME", home.path());
        command.env_remove("STATE_DIRECTORY");
        Self {
            command,
            stdin: None,
            limit: RUN_LIMIT,
            home,
        }
    }

    /// `reknit SUBCOMMAND --replica r1=URL --replica r2=URL ...`, in this order.
    pub(crate) fn over(subcommand: &str, servers: &[&RedisServer]) -> Self {
        let mut args = vec![subcommand.to_owned()];
        for (index, server) in servers.iter().enumerate() {
            args.extend([
                "--replica".to_owned(),
                format!("r{}={}", index + 1, server.url()),
            ]);
        }
        Self::new(args)
    }

    /// Adds arguments.
    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args.into_iter().map(Into::into));
        self
    }

    /// Adds an option with its value.
    pub(crate) fn arg_pair(mut self, option: &str, value: &std::path::Path) -> Self {
        self.command.arg(option).arg(value);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Has these words run it, in place of the shell that would.
    pub(crate) fn within(mut self, words: &[String]) -> Self {
        let mut outer = Command::new(&words[0]);
        outer.args(&words[1..]).arg(self.command.get_program());
        outer.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        self.command = outer;
        self
    }

    /// What it reads from its standard input; otherwise nothing.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Kills the run after this time and fails the test.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Outcome {
        self.spawn().finish()
    }

    /// Starts it, to be signalled or watched while it runs.
    pub(crate) fn spawn(mut self) -> Running {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the binary was built");
        let mut stdin = child.stdin.take().expect("piped");
        let bytes = self.stdin.unwrap_or_default();
        // A program that does not read its input may end first: the broken pipe is no failure.
        thread::spawn(move || drop(stdin.write_all(&bytes)));
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Running {
            child,
            stdout,
            stderr,
            limit: self.limit,
            shown: format!("{:?}", self.command),
            _home: self.home,
        }
    }
}

/// A run under way; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    limit: Duration,
    shown: String,
    _home: TempDir,
}

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `INT` or `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh")
            .args(["-c", &script])
            .status()
            .expect("sh runs");
        assert!(status.success(), "{script} failed");
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Outcome {
        let stdout = self.output(Stream::Out);
        let stderr = self.output(Stream::Err);
        let status = self.child.wait().expect("our own child can be waited for");
        Outcome {
            status,
            stdout,
            stderr,
            shown: self.shown.clone(),
        }
    }

    fn output(&mut self, stream: Stream) -> String {
        let receiver = match stream {
            Stream::Out => &self.stdout,
            Stream::Err => &self.stderr,
        };
        match receiver.recv_timeout(self.limit) {
            Ok(bytes) => String::from_utf8(bytes).expect("output is UTF-8"),
            Err(RecvTimeoutError::Timeout) => {
                self.child.kill().expect("our own child can be killed");
                panic!("{} did not end within {:?}", self.shown, self.limit);
            }
            Err(RecvTimeoutError::Disconnected) => panic!("{}: its output broke", self.shown),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `finish` it is gone already, and both calls answer at once.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// How a run ended and what it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
    shown: String,
}

impl Outcome {
    /// The exit code; none if a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails the test, with all output, unless the run ended with this code.
    #[track_caller]
    pub(crate) fn assert_code(&self, expected: i32) -> &Self {
        assert!(
            self.code() == Some(expected),
            "expected exit code {expected}\n{self}"
        );
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\n{}", self.shown, self.status)?;
        write!(f, "-- stdout\n{}\n-- stderr\n{}", self.stdout, self.stderr)
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if pipe.read_to_end(&mut bytes).is_ok() {
            // Nobody listens any more when the test has failed already.
            drop(sender.send(bytes));
        }
    });
    receiver
}
