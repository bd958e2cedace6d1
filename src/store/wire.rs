//! One connection to one server: time-outs, a read buffer that replies are borrowed from, and the handshake.
//!
//! ```text
//! pack ─▶ outbox ─ flush ─▶ server ─ fill ─▶ inbox ─ reply ─▶ &[u8] (one complete reply, borrowed)
//! ```

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::model::{Credentials, DbIndex, HostPort, Tls};

use super::resp::{Frame, Frames, Malformed, Progress, pack};
use super::tls::secure;
use super::{Capabilities, Usage, capabilities, sentinel, server_info};

/// How much room a read offers the socket.
const READ_SIZE: usize = 64 << 10;

/// The name under which a server's CLIENT LIST shows reknit.
const CLIENT_NAME: &[u8] = b"reknit";

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// The master that sentinels watch over.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<HostPort>,
        /// The name under which they know it.
        master: String,
        /// Who we are to them; nothing where they are asked as the master is.
        credentials: Option<Credentials>,
    },
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Sentinel {
                sentinels, master, ..
            } => {
                let sentinels: Vec<String> = sentinels.iter().map(HostPort::to_string).collect();
                write!(f, "{} (master {master})", sentinels.join(","))
            }
        }
    }
}

/// How to connect to a server.
#[derive(Clone)]
pub struct Connecting {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The ACL user; nothing is the default user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// How the server proves who it is; nothing where it speaks in the clear.
    pub tls: Option<Tls>,
    /// The default database.
    pub db: DbIndex,
    /// Whether a node of a cluster is asked for keys that are on their way to it.
    pub asking: bool,
    /// Whether everything is read from a server that follows this one.
    pub read_follower: bool,
    /// Whether it is one that follows: a node of a cluster is to be told.
    pub follower: bool,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the server may be silent.
    pub read_timeout: Duration,
}

impl std::fmt::Debug for Connecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connecting({}, db {})", self.endpoint, self.db)
    }
}

/// What can happen to a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The connection is lost or never came about; another may succeed.
    #[error("{0}")]
    Lost(String),
    /// The server refused a command of the handshake: wrong password, missing permission. Trying again is no use.
    #[error("{0}")]
    Refused(String),
    /// The server said something that is not RESP2.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl From<std::io::Error> for WireError {
    fn from(error: std::io::Error) -> Self {
        super::tls::trouble(&error).unwrap_or_else(|| Self::Lost(error.to_string()))
    }
}

/// Counts what connections move; shared by all connections of a replica.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    keys_read: AtomicU64,
    keys_written: AtomicU64,
    commands: AtomicU64,
    round_trips: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Meter {
    /// Counts keys that were read.
    pub(crate) fn count_read(&self, keys: u64) {
        self.keys_read.fetch_add(keys, Ordering::Relaxed);
    }

    /// Counts keys that were written.
    pub(crate) fn count_written(&self, keys: u64) {
        self.keys_written.fetch_add(keys, Ordering::Relaxed);
    }

    pub(crate) fn usage(&self) -> Usage {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            keys_read: get(&self.keys_read),
            keys_written: get(&self.keys_written),
            commands: get(&self.commands),
            round_trips: get(&self.round_trips),
            bytes_read: get(&self.bytes_read),
            bytes_written: get(&self.bytes_written),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    inbox: BytesMut,
    /// Invariant: `taken <= inbox.len()`; the replies before were given out, the one to come begins here.
    taken: usize,
    outbox: Vec<u8>,
    progress: Progress,
    commands: u64,
    received: u64,
    read_timeout: Duration,
    meter: Arc<Meter>,
    /// Whether ASKING goes before every command.
    asking: bool,
    /// Whether the answer to the ASKING before the next reply was taken.
    asked: bool,
    /// The database that is selected.
    pub(crate) db: DbIndex,
    /// What the server can do.
    pub(crate) can: Capabilities,
}

impl Wire {
    /// Connects, authenticates, selects the database and names the connection.
    pub(crate) async fn connect(to: &Connecting, meter: Arc<Meter>) -> Result<Self, WireError> {
        let Endpoint::Sentinel {
            sentinels,
            master,
            credentials,
        } = &to.endpoint
        else {
            return Self::connect_to(&to.endpoint, to, meter).await;
        };
        let endpoint = sentinel::master(to, sentinels, (master, credentials.as_ref())).await?;
        let mut wire = Self::connect_to(&endpoint, to, meter).await?;
        match server_info::is_master(&mut wire).await? {
            true => Ok(wire),
            false => {
                let words = format!("{endpoint} is not the master yet, or not any more");
                Err(WireError::Lost(words))
            }
        }
    }

    async fn connect_to(
        endpoint: &Endpoint,
        to: &Connecting,
        meter: Arc<Meter>,
    ) -> Result<Self, WireError> {
        let stream = timeout(to.connect_timeout, open(endpoint, to.tls.as_ref()))
            .await
            .map_err(|_| {
                let waited = humantime::format_duration(to.connect_timeout);
                let also = match to.tls {
                    Some(_) => ", does the server speak TLS at this port?",
                    None => "",
                };
                WireError::Lost(format!("no connection within {waited}{also}"))
            })??;
        let mut wire = Self {
            stream,
            inbox: BytesMut::with_capacity(READ_SIZE),
            taken: 0,
            outbox: Vec::with_capacity(READ_SIZE),
            progress: Progress::START,
            commands: 0,
            received: 0,
            read_timeout: to.read_timeout,
            meter,
            asking: false,
            asked: false,
            db: DbIndex(0),
            can: Capabilities::ALL,
        };
        wire.handshake(to).await?;
        wire.asking = to.asking;
        Ok(wire)
    }

    async fn handshake(&mut self, to: &Connecting) -> Result<(), WireError> {
        if let Some(password) = &to.password {
            let user = to.username.as_deref().unwrap_or("default");
            // The words of a refusal are the server's: it does not repeat the password.
            match &to.username {
                Some(_) => {
                    self.demand(&[b"AUTH", user.as_bytes(), password.as_bytes()])
                        .await?
                }
                None => self.demand(&[b"AUTH", password.as_bytes()]).await?,
            }
        }
        if to.db != DbIndex(0) {
            self.select(to.db).await?;
        }
        // A courtesy that a server may not know or not permit.
        if to.follower {
            // Outside of a cluster it is refused, and not needed.
            self.push(&[b"READONLY"]);
            self.flush().await?;
            self.reply().await?;
        }
        for courtesy in [
            &[b"CLIENT", b"SETNAME" as &[u8], CLIENT_NAME][..],
            &[b"CLIENT", b"NO-TOUCH", b"ON"],
        ] {
            self.push(courtesy);
            self.flush().await?;
            // SUBTLE: whoever is not let in and sends a command of many words is cut off without one.
            if self.reply().await?.starts_with(b"-NOAUTH") {
                return Ok(());
            }
        }
        // What this moves is the same whatever the data: it is not counted.
        let meter = std::mem::take(&mut self.meter);
        let can = capabilities::find(self).await;
        self.meter = meter;
        self.can = can?;
        Ok(())
    }

    /// Selects a database if it is not selected already.
    pub(crate) async fn select(&mut self, db: DbIndex) -> Result<(), WireError> {
        if self.db != db {
            self.demand(&[b"SELECT", db.to_string().as_bytes()]).await?;
            self.db = db;
        }
        Ok(())
    }

    /// Sends one command that must not be refused.
    async fn demand(&mut self, args: &[&[u8]]) -> Result<(), WireError> {
        let command = String::from_utf8_lossy(args[0]).into_owned();
        self.push(args);
        self.flush().await?;
        match Frames::new(self.reply().await?).next()? {
            Frame::Error(words) => Err(WireError::Refused(format!(
                "{command}: {}",
                String::from_utf8_lossy(words)
            ))),
            _ => Ok(()),
        }
    }

    /// Sends one command and copies its answer.
    pub(crate) async fn ask(&mut self, args: &[&[u8]]) -> Result<Vec<u8>, WireError> {
        self.push(args);
        self.flush().await?;
        Ok(self.reply().await?.to_vec())
    }

    /// Packs a command to be sent with the next flush.
    pub(crate) fn push(&mut self, args: &[&[u8]]) {
        self.push_asking();
        pack(&mut self.outbox, args);
        self.commands += 1;
    }

    /// Packs a command by a function of [`super::page`] or the like.
    pub(crate) fn push_with(&mut self, packer: impl FnOnce(&mut Vec<u8>)) {
        self.push_asking();
        packer(&mut self.outbox);
        self.commands += 1;
    }

    fn push_asking(&mut self) {
        if self.asking {
            pack(&mut self.outbox, &[b"ASKING"]);
        }
    }

    /// Packs so many commands by one function.
    pub(crate) fn push_some_with(&mut self, count: usize, packer: impl FnOnce(&mut Vec<u8>)) {
        if self.asking {
            return self.push_asking_each(count, packer);
        }
        packer(&mut self.outbox);
        self.commands += count as u64;
    }

    /// The same, with ASKING before each.
    fn push_asking_each(&mut self, count: usize, packer: impl FnOnce(&mut Vec<u8>)) {
        let mut packed = Vec::new();
        packer(&mut packed);
        let mut rest = &packed[..];
        for _ in 0..count {
            let mut progress = Progress::START;
            let end = progress.advance(rest).ok().flatten();
            let end = end.expect("as many commands as were said");
            self.push_asking();
            self.outbox.extend_from_slice(&rest[..end]);
            self.commands += 1;
            rest = &rest[end..];
        }
    }

    /// Bytes received on this connection.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Sends what was packed.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let sending = self.stream.write_all(&self.outbox);
        timeout(self.read_timeout, sending)
            .await
            .map_err(|_| self.silence())??;
        self.meter
            .bytes_written
            .fetch_add(self.outbox.len() as u64, Ordering::Relaxed);
        self.meter
            .commands
            .fetch_add(std::mem::take(&mut self.commands), Ordering::Relaxed);
        self.meter.round_trips.fetch_add(1, Ordering::Relaxed);
        self.outbox.clear();
        self.outbox.shrink_to(16 * READ_SIZE);
        Ok(())
    }

    /// The next complete reply, waiting for it; valid until the next call.
    pub(crate) async fn reply(&mut self) -> Result<&[u8], WireError> {
        loop {
            if let Some(reply) = self.next_reply()? {
                return Ok(&self.inbox[reply]);
            }
            self.fill().await?;
        }
    }

    /// The next reply if it has come whole; valid until the next call.
    pub(crate) fn try_reply(&mut self) -> Result<Option<&[u8]>, WireError> {
        Ok(self.next_reply()?.map(|reply| &self.inbox[reply]))
    }

    /// Where the next reply stands in the inbox, if it has come whole. It counts as taken.
    fn next_reply(&mut self) -> Result<Option<Range<usize>>, WireError> {
        loop {
            let Some(length) = self.progress.advance(&self.inbox[self.taken..])? else {
                return Ok(None);
            };
            let reply = self.taken..self.taken + length;
            self.taken = reply.end;
            self.progress = Progress::START;
            self.asked = self.asking && !self.asked;
            if !self.asked {
                return Ok(Some(reply));
            }
        }
    }

    /// Waits for more bytes.
    pub(crate) async fn fill(&mut self) -> Result<(), WireError> {
        self.inbox.advance(std::mem::take(&mut self.taken));
        self.inbox.reserve(READ_SIZE);
        let received = timeout(self.read_timeout, self.stream.read_buf(&mut self.inbox))
            .await
            .map_err(|_| self.silence())??;
        if received == 0 {
            return Err(WireError::Lost("the server closed the connection".into()));
        }
        self.received += received as u64;
        self.meter
            .bytes_read
            .fetch_add(received as u64, Ordering::Relaxed);
        Ok(())
    }

    fn silence(&self) -> WireError {
        let waited = humantime::format_duration(self.read_timeout);
        WireError::Lost(format!("the server was silent for {waited}"))
    }
}

async fn open(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Box<dyn Stream>, WireError> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let stream = open_tcp(host, *port).await?;
            match tls {
                Some(tls) => Ok(Box::new(secure(stream, host, tls).await?)),
                None => Ok(Box::new(stream)),
            }
        }
        Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Endpoint::Sentinel { .. } => Err(WireError::Lost("a sentinel holds no data".into())),
    }
}

/// Tries each address of a host in turn.
async fn open_tcp(host: &str, port: u16) -> Result<TcpStream, WireError> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let mut last = WireError::Lost(format!("{host} has no address"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}
