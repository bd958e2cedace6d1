//! What the service tells the one who started it: systemd's `sd_notify` protocol.
//!
//! ```text
//! READY --> WATCHDOG every half of WatchdogSec --> RELOADING, READY --> STOPPING
//! ```
//!
//! Without `NOTIFY_SOCKET` nobody is told, and that is no error. A message that cannot be sent is logged and counts for
//! nothing: the one who waits for it acts on its absence.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The service manager that started this process, by `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    ///
    /// # Errors
    /// If it named a socket that cannot be used: it would wait for a message that never comes.
    pub fn from_environment() -> io::Result<Self> {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        Self::new(socket.as_deref(), sd_notify::watchdog_enabled())
    }

    /// A service manager at a socket: a path, or a name in the abstract namespace behind an `@`.
    ///
    /// # Errors
    /// If there is no such socket.
    pub fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> io::Result<Self> {
        Ok(Self {
            socket: socket.map(connect).transpose()?,
            watchdog: watchdog.filter(|time| !time.is_zero()),
        })
    }

    /// The service works, as the status says; also after a reload.
    pub fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
    }

    /// The configuration is being read anew; [`Self::ready`] ends it, whether it was taken or refused.
    pub fn reloading(&self) {
        // With its time: systemd 253 and later tells by it which reload was meant.
        match NotifyState::monotonic_usec_now() {
            Ok(time) => self.send(&[NotifyState::Reloading, time]),
            Err(error) => tracing::warn!("cannot read the monotonic clock: {error}"),
        }
    }

    /// The service ends.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// One line on how the service stands, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(&line(status))]);
    }

    /// The service is alive. Whoever calls this vouches for it: call it from the loop that does the work.
    pub fn beat(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// How often [`Self::beat`] is to be called: at half of the watchdog's time.
    pub fn beat_every(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|time| time / 2)
    }

    /// Beats until it is stopped. On the runtime that does the work, it tells that this is not blocked.
    pub async fn keep_beating(&self, stop: CancellationToken) {
        let Some(every) = self.beat_every() else {
            return;
        };
        loop {
            self.beat();
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else {
            return;
        };
        let text: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = socket.send(text.as_bytes()) {
            tracing::warn!("cannot tell the service manager: {error}");
        }
    }
}

/// SUBTLE: a newline would begin another message.
fn line(status: &str) -> String {
    status.replace(['\n', '\r'], " ")
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read must not hold the service.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCHDOG: Duration = Duration::from_millis(20);

    /// A service manager that listens, and the way to it.
    fn manager(dir: &tempfile::TempDir) -> (UnixDatagram, Notifier) {
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let notifier = Notifier::new(Some(path.as_os_str()), Some(WATCHDOG)).unwrap();
        (manager, notifier)
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_hears_of_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, notifier) = manager(&dir);
        notifier.ready("2 schedules, next at 02:00");
        assert_eq!(
            heard(&manager),
            "READY=1\nSTATUS=2 schedules, next at 02:00\n"
        );
        notifier.reloading();
        let reloading = heard(&manager);
        let time = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(time.trim_end().parse::<u64>().unwrap() > 0);
        notifier.status("one\nREADY=1");
        assert_eq!(heard(&manager), "STATUS=one READY=1\n");
        notifier.stopping();
        assert_eq!(heard(&manager), "STOPPING=1\n");
    }

    #[tokio::test]
    async fn the_watchdog_hears_a_beat_at_half_of_its_time_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, notifier) = manager(&dir);
        assert_eq!(notifier.beat_every(), Some(WATCHDOG / 2));
        let stop = CancellationToken::new();
        let listener = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let beats: Vec<String> = (0..3).map(|_| heard(&manager)).collect();
                stop.cancel();
                beats
            }
        });
        notifier.keep_beating(stop).await;
        assert_eq!(listener.join().unwrap(), ["WATCHDOG=1\n"; 3]);
    }

    #[test]
    fn an_abstract_socket_is_found() {
        let name = format!("reknit-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(Some(OsStr::new(&format!("@{name}"))), None).unwrap();
        notifier.beat();
        assert_eq!(heard(&manager), "WATCHDOG=1\n");
        assert_eq!(notifier.beat_every(), None, "nobody watches");
    }

    #[test]
    fn without_a_manager_nothing_happens_and_a_missing_one_is_an_error() {
        let notifier = Notifier::new(None, Some(WATCHDOG)).unwrap();
        notifier.ready("alone");
        assert_eq!(notifier.beat_every(), None);
        assert!(Notifier::new(Some(OsStr::new("/nowhere/notify")), None).is_err());
    }

    #[test]
    fn a_manager_that_went_away_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, notifier) = manager(&dir);
        drop(manager);
        notifier.ready("still here");
    }
}
