//! A way to a PostgreSQL server that can be cut, that can hang, and that hears every statement.
//!
//! It passes on whole messages of the protocol, so that it knows where a commit is.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The proxy. Everything that goes through it ends with it.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// What happens to the next commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The connection ends, and the server never hears of the commit.
    BeforeCommit,
    /// The server commits, and the connection ends before anybody hears of it.
    AfterCommit,
}

struct Shared {
    server: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cut: Option<Cut>,
    cuts: usize,
    refuses: bool,
    ended: bool,
    /// Nothing passes through the connections with smaller numbers any more.
    hung: usize,
    count: usize,
    connections: HashMap<usize, [TcpStream; 2]>,
    heard: BTreeSet<String>,
    /// Words of the server that arrive as other words of the same length.
    lie: Option<(Vec<u8>, Vec<u8>)>,
}

impl Proxy {
    /// A way to the server with this address.
    pub fn new(url: &str) -> Proxy {
        let (_, rest) = url.split_once('@').expect("an address with a user");
        let server = rest.split('/').next().expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared { server, state: Mutex::default() });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.state().ended {
                    return;
                }
                accepting.take(stream);
            }
        });
        Proxy { address, shared }
    }

    /// The next commit is cut.
    pub fn cut_at(&self, cut: Cut) {
        self.state().cut = Some(cut);
    }

    /// How many commits were cut.
    pub fn cuts(&self) -> usize {
        self.state().cuts
    }

    /// Ends every connection, and each new one at once.
    pub fn refuse(&self) {
        let mut state = self.state();
        state.refuses = true;
        state.connections.drain().for_each(|(_, pair)| end(&pair));
    }

    /// Ends each new connection at once; those that are there go on.
    pub fn refuse_new(&self) {
        self.state().refuses = true;
    }

    /// Takes new connections again.
    pub fn allow(&self) {
        self.state().refuses = false;
    }

    /// All present connections hang for good; new ones hang too until `allow_new`.
    pub fn hang(&self) {
        self.state().hung = usize::MAX;
    }

    /// What connects from now on works.
    pub fn allow_new(&self) {
        let mut state = self.state();
        state.hung = state.count;
    }

    /// Whatever the server says, these words arrive as others.
    pub fn lie(&self, truth: &str, lie: &str) {
        assert_eq!(truth.len(), lie.len(), "a message keeps its length");
        self.state().lie = Some((truth.into(), lie.into()));
    }

    /// Every statement that was heard.
    pub fn heard(&self) -> BTreeSet<String> {
        self.state().heard.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse();
        self.state().ended = true;
        // Somebody has to knock before the listener looks up.
        let _ = TcpStream::connect(self.address);
    }
}

fn end(pair: &[TcpStream; 2]) {
    pair.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn take(self: &Arc<Shared>, client: TcpStream) {
        if self.state().refuses {
            return drop(client.shutdown(Shutdown::Both));
        }
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        let again = |stream: &TcpStream| stream.try_clone().expect("a handle");
        let number = {
            let mut state = self.state();
            state.count += 1;
            let number = state.count;
            state.connections.insert(number, [again(&client), again(&server)]);
            number
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("set");
        }
        let ways = [(Side::Client, again(&client), again(&server)), (Side::Server, server, client)];
        for (side, from, to) in ways {
            let shared = self.clone();
            std::thread::spawn(move || {
                let _ = shared.pass(number, side, from, to);
                if let Some(pair) = shared.state().connections.remove(&number) {
                    end(&pair);
                }
            });
        }
    }

    /// Passes on messages of one side until either is gone.
    fn pass(&self, number: usize, side: Side, from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
        let mut from = BufReader::with_capacity(1 << 16, from);
        if side == Side::Client {
            // The first message of a client has no type.
            let mut message = vec![0; 4];
            from.read_exact(&mut message)?;
            read_body(&mut from, &mut message, 0)?;
            self.wait_while_hung(number);
            to.write_all(&message)?;
        }
        let (mut prepared, mut message) = (HashMap::new(), Vec::new());
        loop {
            message.resize(5, 0);
            from.read_exact(&mut message)?;
            read_body(&mut from, &mut message, 1)?;
            self.wait_while_hung(number);
            let commits = match side {
                Side::Client => self.hear(&message, &mut prepared),
                Side::Server => message[0] == b'C' && message[5..].starts_with(b"COMMIT"),
            };
            let cut = if side == Side::Client { Cut::BeforeCommit } else { Cut::AfterCommit };
            {
                let mut state = self.state();
                if commits && state.cut == Some(cut) {
                    (state.cut, state.cuts) = (None, state.cuts + 1);
                    return Ok(());
                }
                if let (Side::Server, Some((truth, lie))) = (side, &state.lie) {
                    let at = message.windows(truth.len()).position(|words| words == truth);
                    at.into_iter().for_each(|at| message[at..at + lie.len()].copy_from_slice(lie));
                }
            }
            to.write_all(&message)?;
        }
    }

    /// Keeps a statement in mind; answers whether this message runs a commit.
    fn hear(&self, message: &[u8], prepared: &mut HashMap<String, String>) -> bool {
        let mut words = message[5..].split(|byte| *byte == 0);
        let mut word = || String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
        let runs = match message[0] {
            b'Q' => Some(word()),
            b'P' => {
                let (name, sql) = (word(), word());
                self.state().heard.insert(sql.clone());
                prepared.insert(name, sql);
                None
            }
            b'B' => {
                let (_, name) = (word(), word());
                prepared.get(&name).cloned()
            }
            _ => None,
        };
        if message[0] == b'Q' {
            self.state().heard.extend(runs.clone());
        }
        runs.is_some_and(|sql| sql.to_lowercase().split(';').any(|sql| sql.trim() == "commit"))
    }

    fn wait_while_hung(&self, number: usize) {
        let mut state = self.state();
        while number <= state.hung && state.connections.contains_key(&number) {
            drop(state);
            std::thread::sleep(Duration::from_millis(20));
            state = self.state();
        }
    }
}

/// Whose words a thread passes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// Reads what follows a length that stands at `at` and counts itself.
fn read_body(from: &mut impl Read, message: &mut Vec<u8>, at: usize) -> std::io::Result<()> {
    let length = u32::from_be_bytes(message[at..at + 4].try_into().expect("four bytes")) as usize;
    message.resize(at + length, 0);
    from.read_exact(&mut message[at + 4..])
}
