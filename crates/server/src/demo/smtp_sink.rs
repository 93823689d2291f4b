//! A small SMTP server that keeps every message it accepts and can be told to misbehave.
//!
//! It owns its listener and its log. It delivers nothing, and offers neither encryption nor passwords.
//!
//! Invariant: a message is in the log before its 250 is written, and if a file was named, on disk too.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The longest line and the largest message that are read, in bytes.
const MAX_LINE_BYTES: u64 = 8 * 1024;
const MAX_MESSAGE_BYTES: usize = 10 * 1024 * 1024;

/// A running server; dropping it closes the listener.
#[derive(Debug)]
pub struct SmtpSink {
    /// Its address as `smtp://127.0.0.1:port`.
    pub url: String,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

/// A message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinkMessage {
    /// Without its angle brackets.
    pub message_id: String,
    /// The recipient of the envelope.
    pub to: String,
    /// As it stands in the header.
    pub subject: String,
    /// The hold that paid for it, if it says so.
    pub hold: String,
    /// `List-Unsubscribe`, without its angle brackets.
    pub unsubscribe: String,
    /// Everything after the headers, as transferred, with `\n` line ends.
    pub body: String,
}

/// What the server does with a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SinkMode {
    /// Takes it: 250.
    #[default]
    Accept,
    /// Refuses recipients that contain this text for good: 550. Takes the others.
    Refuse(String),
    /// Refuses every message for good after it was transferred: 554.
    RefuseMessage,
    /// Refuses every recipient for now: 451.
    TryLater,
    /// Refuses the sender for good: 550 to MAIL.
    RefuseSender,
    /// Closes the connection instead of answering DATA: the message is not transferred.
    DropBeforeData,
    /// Never answers the recipient: the message is not transferred.
    HangBeforeData,
    /// Takes the message, keeps it, and closes the connection without the 250.
    AcceptThenDrop,
    /// Takes the message, keeps it, and never answers.
    AcceptThenHang,
}

#[derive(Debug, Default)]
struct State {
    mode: SinkMode,
    delay: Duration,
    messages: Vec<SinkMessage>,
    file: Option<File>,
}

impl SmtpSink {
    /// Listens on a free port of this machine.
    pub async fn start() -> io::Result<SmtpSink> {
        SmtpSink::start_with(State::default()).await
    }

    /// The same, and appends every accepted message to `path` as a line of JSON before it is acknowledged.
    pub async fn start_logging_to(path: &Path) -> io::Result<SmtpSink> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        SmtpSink::start_with(State { file: Some(file), ..State::default() }).await
    }

    async fn start_with(state: State) -> io::Result<SmtpSink> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("smtp://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // A connection that breaks concerns its client alone.
                tokio::spawn(async move { drop(Session::new(stream, state).run().await) });
            }
        });
        Ok(SmtpSink { url, state, accepting })
    }

    /// Every message accepted so far, in order.
    pub fn messages(&self) -> Vec<SinkMessage> {
        lock(&self.state).messages.clone()
    }

    /// How many messages have been accepted so far.
    pub fn accepted(&self) -> usize {
        lock(&self.state).messages.len()
    }

    /// What to do from the next command on, in open connections too.
    pub fn set_mode(&self, mode: SinkMode) {
        lock(&self.state).mode = mode;
    }

    /// How long to think before the answer to a transferred message, in real time.
    pub fn set_delay(&self, delay: Duration) {
        lock(&self.state).delay = delay;
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a session does after a command.
enum Next {
    Reply(&'static str),
    Close,
    Hang,
}

struct Session {
    stream: BufReader<TcpStream>,
    state: Arc<Mutex<State>>,
    recipient: Option<String>,
}

impl Session {
    fn new(stream: TcpStream, state: Arc<Mutex<State>>) -> Session {
        Session { stream: BufReader::new(stream), state, recipient: None }
    }

    async fn run(mut self) -> io::Result<()> {
        self.reply("220 sink.example.com ESMTP").await?;
        loop {
            let line = self.line().await?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            match self.command(&line).await? {
                Next::Reply(reply) => self.reply(reply).await?,
                Next::Close => return Ok(()),
                Next::Hang => std::future::pending::<()>().await,
            }
        }
    }

    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let mode = lock(&self.state).mode.clone();
        Ok(match (verb.as_str(), mode) {
            ("EHLO", _) => Next::Reply("250-sink.example.com\r\n250 8BITMIME"),
            ("HELO" | "RSET" | "NOOP", _) => {
                self.recipient = None;
                Next::Reply("250 ok")
            }
            ("MAIL", SinkMode::RefuseSender) => Next::Reply("550 sender refused"),
            ("MAIL", _) => Next::Reply("250 ok"),
            ("RCPT", mode) => self.recipient(line, &mode),
            ("DATA", _) if self.recipient.is_none() => Next::Reply("503 no recipient"),
            ("DATA", SinkMode::DropBeforeData) => Next::Close,
            ("DATA", mode) => self.message(&mode).await?,
            ("QUIT", _) => {
                self.reply("221 bye").await?;
                Next::Close
            }
            _ => Next::Reply("502 unknown command"),
        })
    }

    fn recipient(&mut self, line: &str, mode: &SinkMode) -> Next {
        let address =
            line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(address, _)| address);
        match (address, mode) {
            (None, _) => Next::Reply("501 no address"),
            (_, SinkMode::TryLater) => Next::Reply("451 not now"),
            (_, SinkMode::HangBeforeData) => Next::Hang,
            (Some(address), SinkMode::Refuse(text)) if address.contains(text) => {
                Next::Reply("550 no such person")
            }
            (Some(address), _) => {
                self.recipient = Some(address.to_owned());
                Next::Reply("250 ok")
            }
        }
    }

    async fn message(&mut self, mode: &SinkMode) -> io::Result<Next> {
        self.reply("354 go ahead").await?;
        let mut text = Vec::new();
        loop {
            let line = self.line().await?;
            match line.strip_prefix(b".") {
                Some(b"\r\n" | b"\n") => break,
                // A dot that begins a line is doubled in transfer.
                Some(rest) => text.extend_from_slice(rest),
                None => text.extend_from_slice(&line),
            }
            if text.len() > MAX_MESSAGE_BYTES {
                return Ok(Next::Close);
            }
        }
        let delay = lock(&self.state).delay;
        tokio::time::sleep(delay).await;
        if *mode == SinkMode::RefuseMessage {
            return Ok(Next::Reply("554 message refused"));
        }
        let recipient = self.recipient.take().unwrap_or_default();
        let state = Arc::clone(&self.state);
        tokio::task::spawn_blocking(move || keep(&state, parse(recipient, &text))).await??;
        Ok(match mode {
            SinkMode::AcceptThenDrop => Next::Close,
            SinkMode::AcceptThenHang => Next::Hang,
            _ => Next::Reply("250 accepted"),
        })
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
        if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    async fn reply(&mut self, reply: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await
    }
}

/// Logs a message, on disk first: what is acknowledged must survive this process.
fn keep(state: &Mutex<State>, message: SinkMessage) -> io::Result<()> {
    let mut state = lock(state);
    if let Some(file) = &mut state.file {
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_data()?;
    }
    state.messages.push(message);
    Ok(())
}

fn parse(to: String, text: &[u8]) -> SinkMessage {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
    let (headers, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    // A header goes on in the lines after it that begin with a space.
    let headers = headers.replace("\n ", " ").replace("\n\t", " ");
    let header = |name: &str| {
        let named =
            |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        let line = headers.lines().find(named).unwrap_or_default();
        line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
    };
    SinkMessage {
        message_id: header("message-id").trim_matches(['<', '>']).to_owned(),
        to,
        subject: header("subject"),
        hold: header("scrip-hold"),
        unsubscribe: header("list-unsubscribe").trim_matches(['<', '>']).to_owned(),
        body: body.trim_end().to_owned(),
    }
}
