//! A proxy before a server, which does to the next transaction, or to all answers, what networks do; it counts what goes
//! through.
//!
//! ```text
//! reknit ──▶ proxy ── MULTI ... EXEC ──▶ server        the trap springs where EXEC, or WATCH, comes by
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How a transaction ends on the wire.
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const WATCH: &[u8] = b"\r\n$5\r\nWATCH\r\n";
/// How long an answer to a late EXEC is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What befalls the connection.
pub(crate) enum Trap {
    /// This happens before EXEC reaches the server.
    Before(Box<dyn FnOnce() + Send>),
    /// EXEC is executed, its answer lost, and the connection with it.
    LoseAnswer,
    /// The connection is lost, and EXEC stays on its way until it is delivered.
    Late,
    /// The connection is lost before WATCH, and this happens meanwhile.
    CutAtWatch(Box<dyn FnOnce() + Send>),
}

/// What becomes of the server's answers on one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Forwarded,
    Lost,
    Held,
}

/// An EXEC on its way, and the connection to the server.
struct Held {
    server: TcpStream,
    bytes: Vec<u8>,
    answer: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Option<Trap>>,
    held: Mutex<Vec<Held>>,
    line: Line,
}

/// What the network is like.
#[derive(Default)]
struct Line {
    /// Bytes that went through, both ways.
    bytes: AtomicU64,
    /// When the first of them did, and the last.
    span: Mutex<Option<(Instant, Instant)>>,
    /// By how much each answer is late.
    delay_micros: AtomicU64,
    is_stalled: Mutex<bool>,
    moved: Condvar,
    is_gone: AtomicBool,
    /// Both ends of every connection.
    ends: Mutex<Vec<TcpStream>>,
}

impl Line {
    /// An answer is on its way: it may be late, or not come at all for a while.
    fn carry(&self, bytes: usize) {
        let delay = Duration::from_micros(self.delay_micros.load(Ordering::Relaxed));
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let mut stalled = lock(&self.is_stalled);
        while *stalled {
            stalled = self
                .moved
                .wait(stalled)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.count(bytes);
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = Instant::now();
        let mut span = lock(&self.span);
        *span = Some((span.map_or(now, |(first, _)| first), now));
    }
}

/// A proxy on a port of its own. Its threads end with the connections.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens before the server on this port of 127.0.0.1.
    pub(crate) fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !of_thread.line.is_gone.load(Ordering::Relaxed) {
                    connect(client, server, Arc::clone(&of_thread));
                }
            }
        });
        Self { port, shared }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sets the trap for the next transaction, on whatever connection it comes.
    pub(crate) fn arm(&self, trap: Trap) {
        *lock(&self.shared.trap) = Some(trap);
    }

    /// Bytes that went through so far, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.line.bytes.load(Ordering::Relaxed)
    }

    /// From the first byte that went through to the last.
    pub(crate) fn span(&self) -> Duration {
        let span = *lock(&self.shared.line.span);
        span.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// From here on each answer is late by so much.
    pub(crate) fn delay(&self, by: Duration) {
        let micros = by.as_micros() as u64;
        self.shared
            .line
            .delay_micros
            .store(micros, Ordering::Relaxed);
    }

    /// From here on no answer comes, and connections stay open; or they come again.
    pub(crate) fn stall(&self, stalled: bool) {
        *lock(&self.shared.line.is_stalled) = stalled;
        self.shared.line.moved.notify_all();
    }

    /// Every connection is closed, and no other comes about.
    pub(crate) fn vanish(&self) {
        self.shared.line.is_gone.store(true, Ordering::Relaxed);
        for end in lock(&self.shared.line.ends).drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Delivers every EXEC that is on its way, and waits for the server to answer each.
    pub(crate) fn deliver(&self) {
        for mut held in lock(&self.shared.held).drain(..) {
            held.server
                .write_all(&held.bytes)
                .expect("it was kept open");
            held.answer
                .recv_timeout(ANSWER_LIMIT)
                .expect("the server answers");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(client: TcpStream, port: u16, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
        return;
    };
    client.set_nodelay(true).expect("a fresh connection");
    server.set_nodelay(true).expect("a fresh connection");
    let answers = Arc::new(Mutex::new(Answers::Forwarded));
    let (answered, answer) = channel();
    let copy = |stream: &TcpStream| stream.try_clone().expect("a file descriptor");
    let (back_from, back_to, of_back) = (copy(&server), copy(&client), Arc::clone(&answers));
    lock(&shared.line.ends).extend([copy(&server), copy(&client)]);
    let of_line = Arc::clone(&shared);
    thread::spawn(move || send_back(back_from, back_to, &of_back, (&answered, &of_line.line)));
    thread::spawn(move || send_on(client, server, &answers, answer, &shared));
}

/// What reknit says, to the server.
fn send_on(
    mut client: TcpStream,
    mut server: TcpStream,
    answers: &Mutex<Answers>,
    answer: Receiver<()>,
    shared: &Shared,
) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..length];
        match sprung(&mut lock(&shared.trap), bytes) {
            Some(Trap::Before(happens)) => happens(),
            Some(Trap::LoseAnswer) => *lock(answers) = Answers::Lost,
            Some(Trap::Late) => {
                *lock(answers) = Answers::Held;
                lock(&shared.held).push(Held {
                    server,
                    bytes: bytes.to_vec(),
                    answer,
                });
                let _ = client.shutdown(Shutdown::Both);
                return;
            }
            Some(Trap::CutAtWatch(happens)) => {
                happens();
                break;
            }
            None => {}
        }
        shared.line.count(length);
        if server.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = (
        client.shutdown(Shutdown::Both),
        server.shutdown(Shutdown::Both),
    );
}

fn sprung(trap: &mut Option<Trap>, bytes: &[u8]) -> Option<Trap> {
    let springs = match trap {
        None => false,
        Some(Trap::CutAtWatch(_)) => bytes.windows(WATCH.len()).any(|part| part == WATCH),
        Some(Trap::Before(_) | Trap::LoseAnswer | Trap::Late) => bytes.ends_with(EXEC),
    };
    if springs { trap.take() } else { None }
}

/// What the server answers, to reknit.
fn send_back(
    mut server: TcpStream,
    mut client: TcpStream,
    answers: &Mutex<Answers>,
    (answered, line): (&Sender<()>, &Line),
) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        line.carry(length);
        // The answers to MULTI and to what is queued come before that to EXEC, the first array.
        let executed = buffer[..length].contains(&b'*');
        match *lock(answers) {
            Answers::Forwarded => {
                if client.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            Answers::Lost if executed => break,
            Answers::Held if executed => {
                let _ = answered.send(());
            }
            Answers::Lost | Answers::Held => {}
        }
    }
    let _ = (
        client.shutdown(Shutdown::Both),
        server.shutdown(Shutdown::Both),
    );
}
