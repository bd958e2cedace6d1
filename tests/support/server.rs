//! A redis-server as a child process, on a free port and in a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Client, Connection, Value};
use tempfile::TempDir;

/// How long a server may take from its start to its first PONG, loading included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The pause between two questions whether it is up.
const POLL: Duration = Duration::from_millis(5);
/// How often a new port is tried where another process took the one that was free.
const PORT_ATTEMPTS: usize = 8;
/// Answers are waited for this long: `DEBUG` commands on big servers are slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// What a server is started with.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    args: Vec<String>,
    /// Options that take a port that is free.
    ports: Vec<String>,
    lines: Vec<String>,
    rdb: Option<PathBuf>,
    unix_socket: bool,
}

impl Builder {
    /// Adds command line arguments, such as `["--maxmemory", "10mb"]`.
    pub(crate) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(str::to_owned));
        self
    }

    /// Adds an option that takes a port of its own: each attempt to start looks for a free one.
    pub(crate) fn port_for(mut self, option: &str) -> Self {
        self.ports.push(option.to_owned());
        self
    }

    /// Adds a line to the configuration file, such as `user reader on >secret ~* +get`.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Places a copy of this file where the server loads it at its start.
    pub(crate) fn rdb(mut self, file: &Path) -> Self {
        self.rdb = Some(file.to_owned());
        self
    }

    /// Listens on a unix socket too.
    pub(crate) fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn start(self) -> RedisServer {
        let dir = tempfile::Builder::new()
            .prefix("redis-")
            .tempdir()
            .expect("a temporary dir");
        if let Some(rdb) = &self.rdb {
            fs::copy(rdb, dir.path().join("dump.rdb")).expect("the RDB file can be copied");
        }
        fs::write(dir.path().join("redis.conf"), self.lines.join("\n") + "\n").expect("a config");
        let mut server = RedisServer {
            child: None,
            port: 0,
            dir,
            args: Vec::new(),
            socket: self.unix_socket,
        };
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port();
            let ports = self.ports.iter();
            let ports = ports.flat_map(|option| [option.clone(), free_port().to_string()]);
            server.args = self.args.iter().cloned().chain(ports).collect();
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server does not start:\n{}", server.log());
    }
}

/// A running redis-server; killed when dropped, also when the test panics.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    args: Vec<String>,
    socket: bool,
}

impl RedisServer {
    /// Starts an empty server with nothing special.
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    /// Starts a server that holds what is in an RDB file.
    pub(crate) fn with_rdb(file: &Path) -> Self {
        Self::builder().rdb(file).start()
    }

    /// What to start a server with.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the running server.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Whether it was started and not killed since.
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// The server's own directory: `dump.rdb`, `log`, `redis.conf`.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The URL, without a database.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The path of the unix socket, where one was asked for.
    pub(crate) fn socket_path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A new connection to database 0, with generous time limits.
    pub(crate) fn client(&self) -> Connection {
        self.client_db(0)
    }

    /// A new connection to one database.
    pub(crate) fn client_db(&self, db: u32) -> Connection {
        connect(&format!("{}/{db}", self.url())).expect("the server accepts connections")
    }

    /// One command on a connection of its own; an error is a failed test.
    pub(crate) fn cmd<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Value {
        run(&mut self.client(), args)
    }

    /// The process dies at once, as by `kill -9`, and nothing is saved.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
        }
    }

    /// Killed if it still runs, and started again: same port, same directory, what was saved there is loaded.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(
            self.launch(),
            "redis-server does not start again:\n{}",
            self.log()
        );
    }

    /// Starts the process and waits for it. False: it ended at once, as when the port is taken.
    fn launch(&mut self) -> bool {
        self.child = Some(self.command().spawn().unwrap_or_else(|error| {
            panic!("redis-server cannot be run ({error}): make test installs it")
        }));
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if self.answers() {
                return true;
            }
            let child = self.child.as_mut().expect("just started");
            if child
                .try_wait()
                .expect("our own child can be asked")
                .is_some()
            {
                self.child = None;
                return false;
            }
            thread::sleep(POLL);
        }
        panic!(
            "redis-server did not answer within {START_LIMIT:?}:\n{}",
            self.log()
        );
    }

    fn command(&self) -> Command {
        let mut command = Command::new("redis-server");
        command
            .arg(self.dir.path().join("redis.conf"))
            .current_dir(self.dir.path());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.args(["--logfile", "log", "--enable-debug-command", "yes"]);
        if self.socket {
            command.arg("--unixsocket").arg(self.socket_path());
        }
        command.args(&self.args).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Whether it is our child that answers: the port may have gone to another process in between.
    fn answers(&self) -> bool {
        let Ok(mut connection) = connect(&self.url()) else {
            return false;
        };
        match redis::cmd("PING").query::<String>(&mut connection) {
            Ok(_) => match redis::cmd("INFO")
                .arg("server")
                .query::<String>(&mut connection)
            {
                Ok(info) => info.contains(&format!("process_id:{}\r\n", self.pid())),
                Err(_) => false,
            },
            // A server that wants a password or lacks a permission is up; one that loads is not.
            Err(error) => matches!(error.code(), Some("NOAUTH" | "NOPERM")),
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One command on a connection; an error is a failed test.
pub(crate) fn run<A: AsRef<[u8]>>(
    connection: &mut Connection,
    args: impl IntoIterator<Item = A>,
) -> Value {
    let mut command = redis::Cmd::new();
    let mut shown = String::new();
    for arg in args {
        shown = format!("{shown} {}", arg.as_ref().escape_ascii());
        command.arg(arg.as_ref());
    }
    command
        .query(connection)
        .unwrap_or_else(|error| panic!("{shown}: {error}"))
}

fn connect(url: &str) -> redis::RedisResult<Connection> {
    let connection = Client::open(url)?.get_connection_with_timeout(ANSWER_LIMIT)?;
    connection.set_read_timeout(Some(ANSWER_LIMIT))?;
    connection.set_write_timeout(Some(ANSWER_LIMIT))?;
    Ok(connection)
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound listener has an address")
        .port()
}
