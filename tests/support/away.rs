//! A line to a server that goes away and comes back, and what a run makes of that.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::killed::{begin, ended, gets_further};
use crate::support::migration::Jobs;

/// A TCP line to a server.
pub struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    server: String,
    is_up: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Line {
    /// One to the server at this address.
    pub fn to(server: &str) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Shared {
            server: server.trim_start_matches("http://").to_owned(),
            is_up: AtomicBool::new(false),
            sockets: Mutex::default(),
        };
        let mut line = Line {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(shared),
            listening: None,
        };
        line.listen(listener);
        line
    }

    /// Where to connect.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    fn listen(&mut self, listener: TcpListener) {
        self.shared.is_up.store(true, Ordering::SeqCst);
        let shared = self.shared.clone();
        self.listening = Some(thread::spawn(move || {
            for client in listener.incoming() {
                if !shared.is_up.load(Ordering::SeqCst) {
                    return;
                }
                shared.pass(client.unwrap());
            }
        }));
    }

    /// The server is gone: connections break, and nothing listens.
    pub fn cut(&mut self) {
        self.shared.is_up.store(false, Ordering::SeqCst);
        let listening = self.listening.take().expect("it was up");
        // Wakes the thread that waits for the next connection.
        let _ = TcpStream::connect(self.address);
        listening.join().unwrap();
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// It is there again, at the same address.
    pub fn mend(&mut self) {
        let began = Instant::now();
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                // A connection of somebody else's may have drawn the port for a moment.
                Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
            }
            thread::sleep(Duration::from_millis(50));
        };
        self.listen(listener);
    }
}

impl Shared {
    fn pass(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server) else {
            return;
        };
        let pairs = [(&client, &server), (&server, &client)];
        for (from, to) in pairs.map(|(from, to)| (from.try_clone(), to.try_clone())) {
            let (mut from, mut to) = (from.unwrap(), to.unwrap());
            from.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        self.sockets.lock().unwrap().extend([client, server]);
    }
}

/// A source's server goes away in the middle of a slow run: once patience ends, that is told in a sentence with its address, and
/// the same command continues when it is back. Where patience lasts, the run goes on by itself.
#[track_caller]
pub fn goes_away_and_comes_back(
    jobs: &Jobs,
    name: &str,
    line: &mut Line,
    text: &str,
    rows_per_s: u32,
) {
    std::fs::write(jobs.path(&format!("{name}.yaml")), text).unwrap();
    let slowly = format!("run.max_rows_per_s={rows_per_s}");
    let with_patience =
        |patience| gets_further(jobs, name, begin(jobs, name, &[&slowly, patience]), 2);
    let child = with_patience("run.patience=1s");
    line.cut();
    let (code, said) = ended(child);
    assert_eq!(code, Some(5), "{said}");
    let port = format!(":{}", line.address.port());
    for part in ["cannot be reached", port.as_str()] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    line.mend();
    let child = with_patience("run.patience=100s");
    line.cut();
    thread::sleep(Duration::from_millis(700));
    line.mend();
    let (code, said) = ended(child);
    // Rows that were sent again and are gone since prove nothing either way.
    assert!(matches!(code, Some(0 | 7)), "{code:?}: {said}");
}
