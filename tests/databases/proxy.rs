//! What is between a tracker and its database: it cuts connections around `COMMIT`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a connection is cut.
const PLACES: u64 = 3;

/// A proxy. It stays until the process ends.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    to: u16,
    /// How many connections are still to be cut; each other `COMMIT` is.
    left: AtomicU64,
    commits: AtomicU64,
    cuts: AtomicU64,
}

impl Proxy {
    /// Starts one for a port, which lets everything through.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            to,
            left: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || drop(state.serve(client)));
            }
        });
        Self { port, state }
    }

    /// Cuts so many connections from now on.
    pub fn cut(&self, times: u64) {
        self.state.left.store(times, Ordering::SeqCst);
    }

    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

impl State {
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.to))?;
        for one in [&client, &server] {
            one.set_nodelay(true)?;
        }
        let back = (server.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || {
            let (mut server, mut client) = back;
            let _ = std::io::copy(&mut server, &mut client);
            let _ = client.shutdown(Shutdown::Both);
        });
        let mut bytes = [0; 1 << 16];
        loop {
            let read = client.read(&mut bytes)?;
            if read == 0 {
                server.shutdown(Shutdown::Both)?;
                return Ok(());
            }
            let said = &bytes[..read];
            // It is sent alone, after the answer to all that was said before.
            let is_commit = said.len() < 32 && said.windows(6).any(|word| word == b"COMMIT");
            let place = if is_commit { self.place() } else { None };
            match place {
                None => server.write_all(said)?,
                // The server never hears of it.
                Some(0) => {}
                // It does, and what it says is lost.
                Some(1) => {
                    client.shutdown(Shutdown::Both)?;
                    server.write_all(said)?;
                    // Until it has done so, or longer.
                    server.shutdown(Shutdown::Write)?;
                }
                // It does, and the end comes right behind.
                Some(_) => server.write_all(said)?,
            }
            if place.is_some() {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                client.shutdown(Shutdown::Both)?;
                if place != Some(1) {
                    server.shutdown(Shutdown::Both)?;
                }
                return Ok(());
            }
        }
    }

    /// Returns where this connection is to be cut, if at all.
    fn place(&self) -> Option<u64> {
        let commit = self.commits.fetch_add(1, Ordering::SeqCst);
        if commit.is_multiple_of(2) {
            return None;
        }
        let less = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok()?;
        Some(commit / 2 % PLACES)
    }
}
