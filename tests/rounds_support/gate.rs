//! Proxies before all servers, which count what a run says and hold it at chosen moments.
//!
//! ```text
//! reknit ──▶ gate ──▶ server       at the 17th piece: tell the test, wait for it, then let the piece pass
//! ```

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::support::reknit::Outcome;

/// How long it may take until what a dead run said has passed.
const PASS_LIMIT: Duration = Duration::from_secs(30);

/// What a test waits for while a run is under way.
pub(crate) enum Event {
    /// A chosen moment: the run goes on when this is dropped.
    Reached(Sender<()>),
    /// The run ended.
    Ended(Box<Outcome>),
}

/// The counter that all gates of a fleet share.
#[derive(Debug, Default)]
struct Count {
    pieces: u64,
    /// Connections that may still say something.
    open: usize,
    moments: VecDeque<u64>,
    reached: Option<Sender<Event>>,
}

#[derive(Debug, Default)]
struct Shared {
    count: Mutex<Count>,
    closed: Condvar,
}

/// Gates before servers. Their threads end with the connections.
#[derive(Debug)]
pub(crate) struct Gates {
    pub(crate) ports: Vec<u16>,
    shared: Arc<Shared>,
}

impl Gates {
    /// Listens before servers on these ports of 127.0.0.1.
    pub(crate) fn before(servers: impl IntoIterator<Item = u16>) -> Self {
        let shared = Arc::new(Shared::default());
        let ports = servers.into_iter().map(|server| listen(server, &shared));
        Self {
            ports: ports.collect(),
            shared: Arc::clone(&shared),
        }
    }

    /// Counts from nothing, and tells when these numbers, in order, are reached.
    pub(crate) fn arm(&self, moments: Vec<u64>, reached: Sender<Event>) {
        let mut count = lock(&self.shared.count);
        count.pieces = 0;
        count.moments = moments.into();
        count.reached = Some(reached);
    }

    /// The run has ended: waits until all that it said has passed. How many pieces that was.
    pub(crate) fn disarm(&self) -> u64 {
        let mut count = lock(&self.shared.count);
        count.moments.clear();
        count.reached = None;
        let closed = &self.shared.closed;
        let (count, waited) = closed
            .wait_timeout_while(count, PASS_LIMIT, |count| count.open > 0)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "a connection of a run stays open");
        count.pieces
    }
}

impl Count {
    /// One more piece. Whoever gets something waits until the other end is dropped.
    fn piece(&mut self) -> Option<Receiver<()>> {
        self.pieces += 1;
        if self.moments.front() != Some(&self.pieces) {
            return None;
        }
        self.moments.pop_front();
        let (go, wait) = channel();
        self.reached.as_ref()?.send(Event::Reached(go)).ok()?;
        Some(wait)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(server: u16, shared: &Arc<Shared>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound listener").port();
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            connect(client, server, Arc::clone(&shared));
        }
    });
    port
}

/// Where the server is not there, the connection ends.
fn connect(client: TcpStream, server: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
        return;
    };
    let copy = |stream: &TcpStream| {
        stream.set_nodelay(true).ok()?;
        stream.try_clone().ok()
    };
    let (Some(back_from), Some(back_to)) = (copy(&server), copy(&client)) else {
        return;
    };
    thread::spawn(move || pass(back_from, back_to, || None));
    lock(&shared.count).open += 1;
    thread::spawn(move || {
        pass(client, server, || lock(&shared.count).piece());
        lock(&shared.count).open -= 1;
        shared.closed.notify_all();
    });
}

fn pass(mut from: TcpStream, mut to: TcpStream, held: impl Fn() -> Option<Receiver<()>>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if let Some(wait) = held() {
            // It ends with an error: that is the sign to go on.
            let _ = wait.recv();
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
