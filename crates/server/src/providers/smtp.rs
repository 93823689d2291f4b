//! Sends e-mail over SMTP, and knows at every moment whether a message can have been accepted.
//!
//! It owns the conversation with the server and the message's headers. It keeps no queue and tries nothing twice.
//!
//! Invariant: until the final dot is written no server can have accepted the message, so every failure before it is
//! certain; a failure after it, without a reply, is `Unknown`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Severity;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::reach::{Encryption, Reach};
use super::{Outcome, install_crypto, one_line};
use crate::config::MailConfig;

/// The latest time a `Date` header can show, in microseconds: the end of the year 9999.
const LATEST_MICROS: u64 = 253_402_300_799_000_000;

/// The longest header that is written as it is; RFC 5322 allows lines of 998.
pub(crate) const MAX_HEADER: usize = 960;

/// An SMTP server, and the address mail from it comes from.
#[derive(Clone, Debug)]
pub struct Smtp {
    host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    from: Mailbox,
    timeout: Duration,
    reach: Reach,
}

/// One message to one person.
#[derive(Clone, Debug)]
pub struct Email {
    /// The recipient, with or without a name.
    pub to: String,
    /// Control characters in it become spaces.
    pub subject: String,
    /// The message as plain text.
    pub text: String,
    /// The message as HTML, if there is such a version.
    pub html: Option<String>,
    /// What the message is known by, `id@host`, with or without angle brackets; the same for every attempt.
    pub message_id: String,
    /// The time in its `Date` header, in microseconds since 1970 UTC.
    pub at_micros: i64,
    /// Where a POST, without more, takes the recipient off the list (RFC 8058).
    pub unsubscribe: Option<String>,
    /// The hold that pays for it, for whoever looks into a mail.
    pub hold: Option<String>,
}

impl Smtp {
    /// Reads the address of the server; connects to nothing. The error is one line and holds no password.
    pub fn new(config: &MailConfig, reach: &Reach) -> Result<Smtp, String> {
        install_crypto();
        let url =
            reqwest::Url::parse(config.url.reveal()).map_err(|error| format!("the SMTP address: {error}"))?;
        let host = url.host_str().ok_or("the SMTP address has no host")?.trim_matches(['[', ']']).to_owned();
        let encryption = Encryption::of(&url, "smtp", &host)
            .ok_or("the SMTP address must be smtp:// (with ?tls=required or ?tls=off) or smtps://")?;
        reach.check(&host)?;
        let port = url.port().unwrap_or(match (encryption, url.username()) {
            (Encryption::Always, _) => 465,
            (_, "") => 25,
            _ => 587,
        });
        let decode = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|error| error.to_string())
        };
        let credentials = match url.password() {
            Some(password) => Some(Credentials::new(decode(url.username())?, decode(password)?)),
            None => None,
        };
        let from = config.from.parse().map_err(|_| "the sender is not an e-mail address")?;
        let (timeout, reach) = (config.timeout, reach.clone());
        Ok(Smtp { host, port, encryption, credentials, from, timeout, reach })
    }

    /// The same server, with mail from another address. The error is one line.
    pub fn sending_as(&self, from: &str) -> Result<Smtp, String> {
        let from = from.parse().map_err(|_| "the sender is not an e-mail address")?;
        Ok(Smtp { from, ..self.clone() })
    }

    /// Where it is, without what it is reached with.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The domain that mail comes from.
    pub fn domain(&self) -> &str {
        self.from.email.domain()
    }

    /// Sends one message over a connection of its own, in at most four time-outs.
    pub async fn send(&self, email: &Email) -> Outcome<()> {
        let message = match self.compose(email) {
            Ok(message) => message,
            Err(reason) => return Outcome::ItemFailed { reason },
        };
        let late = || Outcome::later("the mail server did not answer in time");
        let mut connection = match timeout(self.timeout * 2, self.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(outcome)) => return outcome,
            Err(_) => return late(),
        };
        let bytes = message.formatted();
        match timeout(self.timeout, announce(&mut connection, &message, &bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(outcome)) => return outcome,
            Err(_) => return late(),
        }
        let outcome = transmit(&mut connection, &bytes, self.timeout).await;
        if outcome == Outcome::Done(()) {
            // Good manners only: the message is accepted whatever becomes of this.
            let _ = timeout(Duration::from_secs(1), connection.quit()).await;
        }
        outcome
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Outcome<()>> {
        let hello = ClientId::default();
        let tls = || self.reach.smtp_tls(&self.host).map_err(|error| before(&error));
        let addresses = self.reach.addresses(&self.host, self.port).await;
        let addresses = addresses.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => {
                Outcome::Unavailable { reason: format!("the mail server is not used: {error}") }
            }
            _ => Outcome::later("the mail server cannot be reached"),
        })?;
        let addresses = addresses.as_slice();
        let mut connection = match self.encryption {
            Encryption::Always => {
                AsyncSmtpConnection::connect_tokio1(addresses, Some(self.timeout), &hello, Some(tls()?), None)
                    .await
            }
            _ => AsyncSmtpConnection::connect_with_transport(Box::new(dial(addresses).await?), &hello).await,
        }
        .map_err(|error| before(&error))?;
        let upgrade = match self.encryption {
            Encryption::Required => true,
            Encryption::WhenOffered => connection.can_starttls(),
            Encryption::Always | Encryption::Off => false,
        };
        if upgrade {
            connection.starttls(tls()?, &hello).await.map_err(|error| before(&error))?;
        }
        if let Some(credentials) = &self.credentials {
            if self.encryption == Encryption::WhenOffered && !connection.is_encrypted() {
                let reason = "the mail server offers no encryption for the password".to_owned();
                return Err(Outcome::Unavailable { reason });
            }
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(|error| before(&error))?;
        }
        Ok(connection)
    }

    fn compose(&self, email: &Email) -> Result<Message, String> {
        let to: Mailbox =
            email.to.parse().map_err(|_| "the recipient is not an e-mail address".to_owned())?;
        let message_id = email.message_id.trim_start_matches('<').trim_end_matches('>');
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>');
        if !(3..=250).contains(&message_id.len())
            || !message_id.contains('@')
            || !message_id.bytes().all(plain)
        {
            return Err("the message id is not well formed".to_owned());
        }
        // A line break in a header would begin another header.
        let subject: String = email.subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let micros = email.at_micros.max(0).unsigned_abs().min(LATEST_MICROS);
        let builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject.trim())
            .message_id(Some(format!("<{message_id}>")))
            .date(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
        let built = match &email.html {
            Some(html) => {
                builder.multipart(MultiPart::alternative_plain_html(email.text.clone(), html.clone()))
            }
            None => builder.singlepart(SinglePart::plain(email.text.clone())),
        };
        let mut message = built.map_err(|error| format!("the message cannot be built: {error}"))?;
        for (name, value) in more_headers(email) {
            let visible = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if !visible || value.len() > MAX_HEADER {
                return Err(format!("the header {name} is not well formed"));
            }
            let name = HeaderName::new_from_ascii_str(name);
            message.headers_mut().insert_raw(HeaderValue::new(name, value));
        }
        Ok(message)
    }
}

/// Headers that are written as they are.
fn more_headers(email: &Email) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if let Some(url) = &email.unsubscribe {
        headers.push(("List-Unsubscribe", format!("<{url}>")));
        headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    headers.extend(email.hold.iter().map(|hold| ("Scrip-Hold", hold.clone())));
    headers
}

async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, Outcome<()>> {
    let refused = |_| Outcome::later("the mail server cannot be reached");
    let stream = TcpStream::connect(addresses).await.map_err(refused)?;
    // The final dot is a small write of its own: held back for the server's acknowledgement of the text before
    // it, it would cost each message some 40 ms.
    stream.set_nodelay(true).map_err(refused)?;
    Ok(stream)
}

/// MAIL, RCPT and DATA: all that the server may refuse before it has seen the message.
async fn announce(
    connection: &mut AsyncSmtpConnection,
    message: &Message,
    bytes: &[u8],
) -> Result<(), Outcome<()>> {
    let envelope = message.envelope();
    let mut parameters = Vec::new();
    let ascii = |address: &lettre::Address| address.to_string().is_ascii();
    if !envelope.from().into_iter().chain(envelope.to()).all(ascii) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            let reason = "the mail server accepts no international addresses".to_owned();
            return Err(Outcome::ItemFailed { reason });
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !bytes.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    // A refused sender concerns every message from it, so it is the provider that does not serve us.
    let mail = Mail::new(envelope.from().cloned(), parameters);
    connection.command(mail).await.map_err(|error| before(&error))?;
    for recipient in envelope.to() {
        let rcpt = Rcpt::new(recipient.clone(), Vec::new());
        connection.command(rcpt).await.map_err(|error| refused(&error))?;
    }
    connection.command(Data).await.map_err(|error| refused(&error))?;
    Ok(())
}

async fn transmit(connection: &mut AsyncSmtpConnection, bytes: &[u8], patience: Duration) -> Outcome<()> {
    // The connection asks for the next part only when all parts before it are written, and after the last one it
    // writes the final dot. So the moment it finds no more parts is the last one at which failure is certain.
    let dot_next = AtomicBool::new(false);
    let end = std::iter::from_fn(|| {
        dot_next.store(true, Ordering::Relaxed);
        None
    });
    let sent = timeout(patience, connection.message_iter(std::iter::once(bytes).chain(end))).await;
    let lost = |reason: &str| {
        let reason = reason.to_owned();
        if dot_next.load(Ordering::Relaxed) { Outcome::Unknown { reason } } else { Outcome::later(reason) }
    };
    match sent {
        Ok(Ok(reply)) if reply.code().severity == Severity::PositiveCompletion => Outcome::Done(()),
        Ok(Ok(_)) => lost("the mail server gave an answer that cannot be read"),
        Ok(Err(error)) if error.status().is_some() => refused(&error),
        Ok(Err(_)) => lost("the connection to the mail server was lost"),
        Err(_) => lost("the mail server did not answer in time"),
    }
}

/// A failure before the recipient was named: a permanent refusal is about us, not about this message.
fn before(error: &Error) -> Outcome<()> {
    let reason = reason(error);
    if error.is_permanent() || error.is_client() || is_untrusted(error) {
        Outcome::Unavailable { reason }
    } else {
        Outcome::later(reason)
    }
}

/// A certificate that is not trusted now will not be later, until a person looks.
fn is_untrusted(error: &Error) -> bool {
    let mut chain = std::iter::successors(std::error::Error::source(error), |error| error.source());
    chain.any(|error| {
        // An I/O error hides the error inside it from the chain.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
    })
}

/// A reply to the recipient or the message, or a connection lost before the final dot.
fn refused(error: &Error) -> Outcome<()> {
    let reason = reason(error);
    match error.status().map(|code| code.to_string()).as_deref() {
        Some("530" | "535") => Outcome::Unavailable { reason },
        Some(_) if error.is_permanent() => Outcome::ItemFailed { reason },
        _ => Outcome::later(reason),
    }
}

fn reason(error: &Error) -> String {
    let detail =
        std::error::Error::source(error).map(|source| one_line(&source.to_string())).unwrap_or_default();
    match error.status() {
        Some(code) => format!("the mail server answered {code} {detail}").trim_end().to_owned(),
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None => format!("the mail server cannot be used: {detail}"),
    }
}
