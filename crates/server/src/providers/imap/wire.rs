//! IMAP as it is on the wire: commands go out, responses come back, and nothing that a server says grows beyond its limits.
//!
//! It knows lines, literals and tags, and not what a command means. Nothing here recurses: a response is never taken apart further
//! than into its text and its literal. (The parsers that there are for Rust end the process at a thousand brackets.)
//!
//! Invariant: of one conversation no more than [`MAX_CONVERSATION`] is read, and of one response no more than [`MAX_LINE`] and
//! [`MAX_LITERAL`] is kept.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::providers::one_line;

/// The longest text of a response, in bytes: a list of a hundred thousand numbers.
const MAX_LINE: usize = 1024 * 1024;
/// How much of a literal is kept, in bytes; the rest is read and dropped.
pub(super) const MAX_LITERAL: usize = 64 * 1024;
/// How many responses one command may have.
const MAX_RESPONSES: usize = 2_000;
/// How much is kept of all responses to one command, in bytes.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// How much is read in one conversation, in bytes.
const MAX_CONVERSATION: usize = 32 * 1024 * 1024;
/// How long each response may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whatever a conversation goes over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A conversation.
pub(super) struct Wire {
    stream: BufReader<Box<dyn Stream>>,
    /// How much may still be read.
    left: usize,
    tag: u32,
}

/// A response: its text without its literals, and the first of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) text: String,
    pub(super) literal: Option<Vec<u8>>,
}

impl Response {
    /// What follows a word that is written in any case.
    pub(super) fn after(&self, word: &str) -> Option<&str> {
        let start = self.text.get(..word.len())?;
        start.eq_ignore_ascii_case(word).then(|| self.text[word.len()..].trim_start())
    }

    /// The number that follows a word anywhere, such as `UID ` or `[UIDNEXT `.
    pub(super) fn number(&self, word: &str) -> Option<u32> {
        let text = self.text.to_ascii_uppercase();
        let digits = &text[text.find(word)? + word.len()..];
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    }
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Wire {
        Wire { stream: BufReader::new(stream), left: MAX_CONVERSATION, tag: 0 }
    }

    /// The stream underneath, for encryption. What was sent before it and not asked for could be anybody's, so it is an error.
    pub(super) fn into_stream(self) -> Result<Box<dyn Stream>, String> {
        if self.stream.buffer().is_empty() {
            Ok(self.stream.into_inner())
        } else {
            Err("the mail server spoke out of turn before encryption".to_owned())
        }
    }

    /// Sends a command, and answers what came before its `OK`. `more` is sent when the server asks for more.
    ///
    /// # Errors
    /// One line: what the server refused it with, or how the conversation broke.
    pub(super) async fn command(&mut self, text: &str, more: Option<&str>) -> Result<Vec<Response>, String> {
        self.tag += 1;
        let (tag, mut more) = (format!("a{} ", self.tag), more);
        self.send(&format!("{tag}{text}")).await?;
        let (mut responses, mut kept) = (Vec::new(), 0);
        loop {
            let response = self.response().await?;
            if let Some(status) = response.after(&tag) {
                return match status.split_whitespace().next() {
                    Some(word) if word.eq_ignore_ascii_case("OK") => Ok(responses),
                    _ => Err(format!("the mail server answered {}", one_line(status))),
                };
            }
            if response.text.starts_with('+') {
                let more = more.take().ok_or("the mail server asked for what it was not promised")?;
                self.send(more).await?;
                continue;
            }
            kept += response.text.len() + response.literal.as_ref().map_or(0, Vec::len);
            if responses.len() >= MAX_RESPONSES || kept > MAX_ANSWER {
                return Err(TOO_MUCH.to_owned());
            }
            responses.push(response);
        }
    }

    async fn send(&mut self, line: &str) -> Result<(), String> {
        let line = format!("{line}\r\n");
        let sent = async {
            self.stream.get_mut().write_all(line.as_bytes()).await?;
            self.stream.get_mut().flush().await
        };
        timeout(PATIENCE, sent).await.map_err(|_| LATE)?.map_err(|_| CLOSED.to_owned())
    }

    /// The next response.
    pub(super) async fn response(&mut self) -> Result<Response, String> {
        timeout(PATIENCE, self.read()).await.map_err(|_| LATE)?.map_err(str::to_owned)
    }

    async fn read(&mut self) -> Result<Response, &'static str> {
        let mut response = Response::default();
        loop {
            let line = self.line().await?;
            let size = literal_size(&line);
            response.text.push_str(&String::from_utf8_lossy(&line));
            if response.text.len() > MAX_LINE {
                return Err(TOO_MUCH);
            }
            let Some(size) = size else { return Ok(response) };
            let literal = self.literal(size).await?;
            response.literal.get_or_insert(literal);
        }
    }

    /// One line without its end.
    async fn line(&mut self) -> Result<Vec<u8>, &'static str> {
        let most = MAX_LINE.min(self.left);
        let mut line = Vec::new();
        let read = (&mut self.stream).take(most as u64).read_until(b'\n', &mut line).await;
        read.map_err(|_| CLOSED)?;
        self.left -= line.len();
        if line.pop() != Some(b'\n') {
            return Err(if line.len() + 1 >= most { TOO_MUCH } else { CLOSED });
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    async fn literal(&mut self, size: usize) -> Result<Vec<u8>, &'static str> {
        self.left = self.left.checked_sub(size).ok_or(TOO_MUCH)?;
        let mut literal = vec![0; size.min(MAX_LITERAL)];
        self.stream.read_exact(&mut literal).await.map_err(|_| CLOSED)?;
        let mut rest = (&mut self.stream).take((size - literal.len()) as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map_err(|_| CLOSED)?;
        if rest.limit() == 0 { Ok(literal) } else { Err(CLOSED) }
    }
}

const CLOSED: &str = "the mail server closed the connection";
const LATE: &str = "the mail server did not answer in time";
const TOO_MUCH: &str = "the mail server sent more than anybody asked for";

/// The size of the literal that follows a line which ends with `{size}`.
fn literal_size(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}")?;
    let open = line.iter().rposition(|byte| *byte == b'{')?;
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &[u8]) -> Result<Response, String> {
        let (ours, mut theirs) = tokio::io::duplex(128 * 1024);
        let mut wire = Wire::new(Box::new(ours));
        let (response, ()) = tokio::join!(wire.response(), async {
            // Whoever hangs up early is not written to any more.
            let _ = theirs.write_all(text).await;
            drop(theirs);
        });
        response
    }

    #[tokio::test]
    async fn responses_are_read_with_their_literals() {
        let plain = read(b"* OK [UIDVALIDITY 7] fine\r\n").await.expect("a response");
        assert_eq!((plain.number("[UIDVALIDITY "), plain.literal.is_none()), (Some(7), true));
        let fetch = read(b"* 3 FETCH (uid 12 BODY[] {5}\r\na\r\nb) FLAGS ())\r\n").await.expect("a response");
        assert_eq!((fetch.number("UID "), fetch.literal), (Some(12), Some(b"a\r\nb)".to_vec())));
        let bare = read(b"* BYE\n").await.expect("a response");
        assert_eq!(bare.after("* bye"), Some(""));
    }

    #[tokio::test]
    async fn whatever_a_server_sends_stays_within_its_limits() {
        let mut large = b"* 1 FETCH (UID 1 BODY[] {100000}\r\n".to_vec();
        large.extend(vec![b'x'; 100_000]);
        large.extend(b")\r\n");
        let large = read(&large).await.expect("the rest is dropped");
        assert_eq!(
            (large.literal.map(|literal| literal.len()), large.text.ends_with(')')),
            (Some(MAX_LITERAL), true)
        );
        let brackets = [b"* 1 FETCH ".as_slice(), &vec![b'('; 100_000], b"\r\n"].concat();
        assert_eq!(read(&brackets).await.expect("brackets mean nothing").number("UID "), None);
        for (sent, word) in [
            (vec![b'x'; MAX_LINE + 10], TOO_MUCH),
            (b"* 1 FETCH (BODY[] {99999999}\r\n".to_vec(), TOO_MUCH),
            (b"* 1 FETCH (BODY[] {18446744073709551615}\r\n".to_vec(), TOO_MUCH),
            (b"* 1 FETCH (BODY[] {100}\r\nshort".to_vec(), CLOSED),
            (b"* 1 FETCH (BODY[] {70000}\r\nshort".to_vec(), CLOSED),
            (b"* OK no end".to_vec(), CLOSED),
            (Vec::new(), CLOSED),
        ] {
            assert_eq!(
                read(&sent).await.expect_err("refused"),
                word,
                "{:?}",
                String::from_utf8_lossy(&sent[..sent.len().min(40)])
            );
        }
    }
}
