//! Three redis-servers of the demo's own: on free ports, in a directory of their own, gone at the end.
//!
//! Gone also where the demo itself is killed: each server has a watcher, which waits for the end of a pipe that the
//! demo holds open, the leash. The system closes it with the demo, whatever ended that.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use super::{DemoError, version};

/// The replicas, in the order in which they are preferred.
pub(super) const NAMES: [&str; 3] = ["us", "eu", "ap"];

/// How long a server may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The pause between two questions whether it is up.
const POLL: Duration = Duration::from_millis(10);
/// How often a new port is tried where another process took the one that was free.
const PORT_ATTEMPTS: usize = 8;
/// Digesting or flushing all keys takes a server a while.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Becomes the server, and leaves a watcher behind: if the leash ends without a word, it ends the server and removes
/// its directory. The last one removes that of all.
const ON_A_LEASH: &str = r#"
exec 3<&0
( read -r word <&3 || { kill -9 $$; rm -rf -- "$PWD"; rmdir -- "${PWD%/*}"; } ) 2>/dev/null &
exec redis-server "$@" 3<&- </dev/null
"#;
/// Lets the watcher go without ending the server.
const LET_GO: &[u8] = b"over\n";

/// A running server; killed when dropped.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) port: u16,
    child: Child,
    leash: ChildStdin,
    connection: MultiplexedConnection,
}

/// The three servers and the directory they run in.
pub(super) struct Servers {
    list: Vec<Server>,
    // SUBTLE: after the servers, so that they are gone before their directory is.
    dir: TempDir,
}

impl Servers {
    /// Starts all and waits until they answer.
    pub(super) async fn start() -> Result<Self, DemoError> {
        version::look().await?;
        let dir = tempfile::Builder::new().prefix("reknit-demo-").tempdir();
        let dir = dir.map_err(DemoError::Directory)?;
        let starting = NAMES.map(|name| Server::start(name, dir.path()));
        let list = try_join_all(starting).await?;
        Ok(Self { list, dir })
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> &[Server] {
        &self.list
    }

    /// The directory they run in.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kills them, waits for their end, and removes their directory.
    pub(super) async fn stop(self) -> Result<(), DemoError> {
        for mut server in self.list {
            server.child.kill().await?;
            let_go(server.leash).await;
        }
        Ok(self.dir.close()?)
    }

    /// Lets them live on after this process.
    pub(super) async fn keep(mut self) {
        self.dir.disable_cleanup(true);
        for server in self.list {
            let_go(server.leash).await;
            // Dropping it would kill the server.
            std::mem::forget(server.child);
        }
    }
}

impl Server {
    async fn start(name: &'static str, dir: &Path) -> Result<Self, DemoError> {
        let own = dir.join(name);
        std::fs::create_dir(&own).map_err(DemoError::Directory)?;
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port()?;
            let (mut child, leash) = launch(&own, port)?;
            let up = tokio::time::timeout(START_LIMIT, connect(&mut child, port)).await;
            if let Ok(Some(connection)) = up {
                return Ok(Self {
                    name,
                    port,
                    child,
                    leash,
                    connection,
                });
            }
            child.kill().await?;
            let_go(leash).await;
        }
        let log = std::fs::read_to_string(own.join("log")).unwrap_or_default();
        let reason = log.lines().rev().find(|line| !line.trim().is_empty());
        Err(DemoError::Start {
            name,
            reason: reason.unwrap_or("it says nothing").to_owned(),
        })
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends all commands at once; the first that is refused is an error.
    pub(super) async fn send(&self, commands: &Pipeline) -> Result<(), DemoError> {
        let mut connection = self.connection.clone();
        let sent = commands.query_async::<()>(&mut connection).await;
        sent.map_err(|source| self.failure(source))
    }

    /// Sends one command that answers a line.
    pub(super) async fn ask(&self, args: &[&str]) -> Result<String, DemoError> {
        let mut connection = self.connection.clone();
        let mut command = redis::Cmd::new();
        command.arg(args);
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|source| self.failure(source))
    }

    fn failure(&self, source: redis::RedisError) -> DemoError {
        DemoError::Server {
            name: self.name,
            source,
        }
    }
}

fn launch(dir: &Path, port: u16) -> Result<(Child, ChildStdin), DemoError> {
    let log = File::create(dir.join("log")).map_err(DemoError::Directory)?;
    let mut command = Command::new("sh");
    command.args(["-c", ON_A_LEASH, "reknit-demo"]);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.args(["--enable-debug-command", "yes"]);
    command.current_dir(dir).stdin(Stdio::piped());
    command.stderr(log.try_clone()?).stdout(log);
    // A group of its own: Ctrl-C is for reknit, which stops the servers in order.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn()?;
    let leash = child.stdin.take().expect("it was piped");
    Ok((child, leash))
}

/// The server is gone already, or is to live on.
async fn let_go(mut leash: ChildStdin) {
    // A watcher that somebody ended cannot be told, and does nothing any more.
    if let Err(error) = leash.write_all(LET_GO).await {
        tracing::debug!("a watcher has gone: {error}");
    }
}

/// A connection to our own child; nothing if it ended, as when the port was taken in between.
async fn connect(child: &mut Child, port: u16) -> Option<MultiplexedConnection> {
    let client = Client::open(format!("redis://127.0.0.1:{port}")).ok()?;
    loop {
        if !matches!(child.try_wait(), Ok(None)) {
            return None;
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_LIMIT));
        if let Ok(mut connection) = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
        {
            let mut question = redis::cmd("INFO");
            let info = question
                .arg("server")
                .query_async::<String>(&mut connection)
                .await;
            if is_ours(&info.unwrap_or_default(), child.id()?) {
                return Some(connection);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn is_ours(info: &str, process: u32) -> bool {
    info.contains(&format!("process_id:{process}\r\n"))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
