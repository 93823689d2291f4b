//! The outside world of a campaign, small: an HTTP server for providers that answers whatever a function decides.

use crate::http::header;
use anyhow::{Context, Result};
use std::rc::Rc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) key: Option<String>,
    pub(crate) body: String,
}

/// Listens on a free port for as long as the surrounding `LocalSet` runs.
pub(crate) async fn serve_http(answer: impl Fn(&Request) -> (u16, String) + 'static) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let answer = Rc::new(answer);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            // A caller that is killed breaks its connection; that is the point and no error.
            spawn_local(async move { converse(stream, answer.as_ref()).await });
        }
    });
    Ok(port)
}

async fn converse(stream: TcpStream, answer: &impl Fn(&Request) -> (u16, String)) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read_request(&mut stream).await?;
        let (status, body) = answer(&request);
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} It\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await?;
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Result<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = stream.read_line(&mut head).await?;
        anyhow::ensure!(read > 0, "the connection ended");
    }
    let length = header(&head, "content-length").map_or(Ok(0), str::parse)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Request {
        path: head.split(' ').nth(1).context("a request without a path")?.to_owned(),
        key: header(&head, "idempotency-key").map(str::to_owned),
        body: String::from_utf8(body)?,
    })
}
