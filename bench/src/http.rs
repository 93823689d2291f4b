//! A minimal HTTP/1.1 client on one kept-alive connection, cheap enough not to spend the server's cores.
//!
//! It writes one request and reads one answer with a Content-Length; it knows no chunks, redirects or pipelining.

use anyhow::{Result, bail};
use serde_json::Value;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// The operator's key every server of a bench is started with.
pub(crate) const OPERATOR_KEY: &str = "bench-operator-key-0123456789abcdef";

/// A stream over TCP or a Unix socket.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    output: Vec<u8>,
    input: Vec<u8>,
}

/// An answer still lying in the connection's buffer.
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    head: &'a str,
    pub(crate) body: &'a str,
}

/// An answer as a browser gets it, with its size on the wire.
pub(crate) struct Looked {
    pub(crate) status: u16,
    pub(crate) length: usize,
    /// Empty when it was compressed.
    pub(crate) text: String,
}

/// An answer taken out of the buffer and parsed.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) available: Option<i64>,
    pub(crate) body: Value,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(Box::new(stream)))
    }

    pub(crate) async fn open_socket(path: &Path) -> io::Result<Self> {
        Ok(Self::over(Box::new(UnixStream::connect(path).await?)))
    }

    fn over(stream: Box<dyn Stream>) -> Self {
        Self { stream, output: Vec::with_capacity(1024), input: Vec::with_capacity(4096) }
    }

    /// Sends one request and waits for its whole answer. An error leaves the connection useless.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> io::Result<Response<'_>> {
        self.output.clear();
        write!(
            self.output,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {OPERATOR_KEY}\r\n"
        )?;
        if let Some(key) = key {
            write!(self.output, "Idempotency-Key: {key}\r\n")?;
        }
        if !body.is_empty() {
            write!(self.output, "Content-Type: application/json\r\n")?;
        }
        write!(self.output, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        self.stream.write_all(&self.output).await?;
        self.receive().await
    }

    /// The same with JSON in and out, for everything that is not measured.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> io::Result<Answer> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.send(method, path, key, &text).await?;
        let body = match response.body {
            "" => Value::Null,
            text => {
                serde_json::from_str(text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?
            }
        };
        Ok(Answer {
            status: response.status,
            replayed: response.header("idempotency-replayed") == Some("true"),
            available: response.header("credits-available").and_then(|it| it.parse().ok()),
            body,
        })
    }

    /// Asks for what a browser would, in somebody's session.
    pub(crate) async fn look(&mut self, path: &str, cookie: &str) -> io::Result<Looked> {
        self.output.clear();
        write!(self.output, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n")?;
        write!(self.output, "Accept-Encoding: gzip, deflate, br\r\n\r\n")?;
        self.stream.write_all(&self.output).await?;
        let (end, length) = self.fill().await?;
        let head = utf8(&self.input[..end])?;
        let status = head.get(9..12).and_then(|it| it.parse().ok()).ok_or(ErrorKind::InvalidData)?;
        let text = String::from_utf8(self.input[end + 4..length].to_vec()).unwrap_or_default();
        Ok(Looked { status, length, text })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Value> {
        self.call("GET", path, None, &Value::Null).await?.expect(200)
    }

    async fn receive(&mut self) -> io::Result<Response<'_>> {
        let (head, length) = self.fill().await?;
        let head = utf8(&self.input[..head])?;
        let status = head.get(9..12).and_then(|it| it.parse().ok()).ok_or(ErrorKind::InvalidData)?;
        Ok(Response { status, head, body: utf8(&self.input[head.len() + 4..length])? })
    }

    /// Reads one whole answer: where its head ends, and where it ends.
    async fn fill(&mut self) -> io::Result<(usize, usize)> {
        self.input.clear();
        let mut end = None;
        loop {
            if let Some((head, total)) = end
                && self.input.len() >= total
            {
                return Ok((head, total));
            }
            self.input.reserve(4096);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if end.is_none() {
                end = frame(&self.input)?;
            }
        }
    }
}

impl Response<'_> {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }

    /// The first `"id"` of the body, found without parsing it.
    pub(crate) fn id(&self) -> Option<&str> {
        let start = self.body.find("\"id\":\"")? + 6;
        self.body[start..].split('"').next()
    }
}

impl Answer {
    /// The body, if the status is the one promised.
    pub(crate) fn expect(self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("expected {status}, got {} {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

/// Where the head ends and the answer ends, once the head is complete.
fn frame(input: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(end) = input.windows(4).position(|it| it == b"\r\n\r\n") else { return Ok(None) };
    let head = utf8(&input[..end])?;
    if header(head, "transfer-encoding").is_some() {
        return Err(io::Error::new(ErrorKind::InvalidData, "an answer without Content-Length"));
    }
    let length: usize = header(head, "content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
    Ok(Some((end, end + 4 + length)))
}

/// A header of a head by its name in any case.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn utf8(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}
