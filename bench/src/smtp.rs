//! A mail server that only remembers: every message it accepted, also those whose sender died before hearing so.

use anyhow::Result;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) message_id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) subject: String,
    /// The hold that pays for it, as the mail itself says.
    pub(crate) hold: String,
}

/// Everything accepted so far, in order.
pub(crate) type Accepted = Rc<RefCell<Vec<Mail>>>;

/// Listens on a free port for as long as the surrounding `LocalSet` runs; thinks `delay` over every message, twice:
/// before it is accepted and before the sender hears so. `told` is called for each mail once its 250 is on its way.
pub(crate) async fn serve(
    accepted: Accepted,
    delay: Duration,
    told: impl Fn(&Mail) + 'static,
) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let told = Rc::new(told);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (accepted, told) = (accepted.clone(), told.clone());
            // A sender that is killed breaks its connection; that is the point and no error.
            spawn_local(async move { converse(stream, &accepted, delay, told.as_ref()).await });
        }
    });
    Ok(port)
}

async fn converse(
    stream: TcpStream,
    accepted: &Accepted,
    delay: Duration,
    told: &impl Fn(&Mail),
) -> Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink.example ESMTP\r\n").await?;
    let mut line = String::new();
    let mut to = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                "250 fine\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let Some(text) = read_message(&mut stream).await? else { return Ok(()) };
                let mail = parse(&text, &to);
                think(delay).await;
                accepted.borrow_mut().push(mail.clone());
                think(delay).await;
                stream.write_all(b"250 accepted\r\n").await?;
                told(&mail);
                continue;
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        stream.write_all(reply.as_bytes()).await?;
    }
}

async fn think(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// The message up to its lone dot; none when the sender vanished in the middle.
async fn read_message(stream: &mut BufReader<TcpStream>) -> Result<Option<String>> {
    let mut text = String::new();
    loop {
        let start = text.len();
        if stream.read_line(&mut text).await? == 0 {
            return Ok(None);
        }
        if text[start..].trim_end() == "." {
            return Ok(Some(text));
        }
    }
}

fn parse(text: &str, to: &str) -> Mail {
    let unfolded = text.replace("\r\n ", " ").replace("\r\n\t", " ");
    let head = unfolded.split("\r\n\r\n").next().unwrap_or_default();
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let value = fields.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        value.unwrap_or_default().to_owned()
    };
    Mail {
        message_id: field("message-id"),
        from: field("from"),
        to: to.to_owned(),
        subject: field("subject"),
        hold: field("scrip-hold"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_remembered_only_when_it_arrived_whole() -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let accepted = Accepted::default();
            let port = serve(accepted.clone(), Duration::ZERO, |_| {}).await?;
            let head = "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n";
            let text = "Message-ID: <1@x>\r\nSubject: Hello\r\n there\r\n\r\nBody\r\n";
            for end in ["", ".\r\nQUIT\r\n"] {
                let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
                stream.write_all(format!("{head}{text}{end}").as_bytes()).await?;
                stream.shutdown().await?;
                while stream.read_line(&mut String::new()).await? > 0 {}
            }
            let mail = Mail {
                message_id: "<1@x>".into(),
                to: "b@example.com".into(),
                subject: "Hello there".into(),
                ..Mail::default()
            };
            assert_eq!(*accepted.borrow(), [mail]);
            Ok(())
        })
    }
}
