//! Reads what came into a mailbox over IMAP, and changes nothing in it.
//!
//! It owns the conversation: EXAMINE and BODY.PEEK only, so that no mail is marked as read. What a mail says is `letter`'s.
//! `async-imap` is not used: its parser recurses without a limit, so that a hostile server could end the process.
//!
//! Invariant: a mark only ever covers what was looked at, also when the conversation breaks in the middle.

use std::io::ErrorKind;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::wire::{MAX_LITERAL, Response, Stream, Wire};
use super::letter::{self, First, Letter};
use super::reach::{Encryption, Reach};
use crate::config::Secret;

mod wire;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many mails are read in one look.
const MOST: usize = 200;
/// How many are asked for at a time.
const AT_ONCE: usize = 50;
/// What is asked for of each mail, and how much of it, in bytes.
const HEADERS: &str = "FROM RETURN-PATH IN-REPLY-TO REFERENCES CONTENT-TYPE AUTO-SUBMITTED PRECEDENCE X-AUTOREPLY X-AUTORESPOND";
const MAX_HEADERS: usize = 16 * 1024;

/// A mailbox, and how it is reached.
#[derive(Clone, Debug)]
pub struct Imap {
    host: String,
    port: u16,
    encryption: Encryption,
    user: String,
    password: Secret,
    reach: Reach,
}

/// How far a mailbox was read. A server that numbers its mails anew gives another `validity`; 0: nothing was read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub validity: u32,
    pub last: u32,
}

/// What one look found.
#[derive(Debug)]
pub struct Looked {
    pub letters: Vec<Letter>,
    pub mark: Mark,
    /// Whether there is more to read now.
    pub more: bool,
    /// Why it ended early: one line.
    pub trouble: Option<String>,
}

impl Imap {
    /// Reads the address of a mailbox; connects to nothing. The error is one line and holds no password.
    pub fn new(url: &Secret, reach: &Reach) -> Result<Imap, String> {
        super::install_crypto();
        let wrong = || "must be like imaps://user:password@host or imap://user:password@host".to_owned();
        let url = reqwest::Url::parse(url.reveal()).map_err(|_| wrong())?;
        let host = url.host_str().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
        let encryption = Encryption::of(&url, "imap", &host).ok_or_else(wrong)?;
        let decode = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
        let (user, password) = match url.password().map(decode) {
            Some(Ok(password)) => (decode(url.username()).map_err(|_| wrong())?, password),
            _ => return Err(wrong()),
        };
        let told = [user.as_str(), password.as_str()];
        if !matches!(url.path(), "" | "/")
            || told.iter().any(|text| text.is_empty() || text.contains(char::is_control))
        {
            return Err(wrong());
        }
        reach.check(&host)?;
        let port = url.port().unwrap_or(if encryption == Encryption::Always { 993 } else { 143 });
        Ok(Imap { host, port, encryption, user, password: Secret::new(password), reach: reach.clone() })
    }

    /// Where it is, without what it is reached with.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Reads what came in since `mark`; where that says nothing, since the day `since` (`1-Feb-2026`). Mail from `own` is nobody's
    /// answer.
    pub async fn look(&self, mark: Mark, since: &str, own: &str) -> Looked {
        let mut looked = Looked { letters: Vec::new(), mark, more: false, trouble: None };
        looked.trouble = match timeout(PATIENCE, self.read(&mut looked, since, own)).await {
            Ok(Ok(())) => None,
            Ok(Err(trouble)) => Some(trouble),
            Err(_) => Some("the mail server took too long".to_owned()),
        };
        looked
    }

    async fn read(&self, looked: &mut Looked, since: &str, own: &str) -> Result<(), String> {
        let mut wire = self.sign_in().await?;
        let opened = wire.command("EXAMINE INBOX", None).await?;
        let told = |word: &str| opened.iter().find_map(|response| response.number(word));
        let validity = told("[UIDVALIDITY ").filter(|validity| *validity > 0);
        let validity = validity.ok_or("the mail server does not number its mails")?;
        let known = looked.mark.validity == validity;
        let asked = match looked.mark.last.checked_add(1) {
            Some(next) if known => format!("UID SEARCH UID {next}:*"),
            _ => format!("UID SEARCH SINCE {since}"),
        };
        let mut mark = if known { looked.mark } else { Mark { validity, last: 0 } };
        let found = wire.command(&asked, None).await?;
        let mut uids: Vec<u32> = found
            .iter()
            .filter_map(|response| response.after("* SEARCH"))
            .flat_map(|list| list.split_ascii_whitespace().filter_map(|number| number.parse().ok()))
            // A range that ends with * has the last mail in it, whatever its number.
            .filter(|uid| *uid > mark.last)
            .collect();
        uids.sort_unstable();
        uids.dedup();
        looked.more = uids.len() > MOST;
        uids.truncate(MOST);
        if uids.is_empty() {
            // Nothing of these days: from here on all that is new.
            mark.last = mark.last.max(told("[UIDNEXT ").unwrap_or(0).saturating_sub(1));
            looked.mark = if mark.last == 0 && !known { Mark::default() } else { mark };
        }
        for uids in uids.chunks(AT_ONCE) {
            self.take(&mut wire, looked, uids, own).await?;
            mark.last = uids.last().copied().unwrap_or(mark.last);
            looked.mark = mark;
        }
        // Good manners only.
        let _ = timeout(Duration::from_secs(1), wire.command("LOGOUT", None)).await;
        Ok(())
    }

    /// Reads some mails: their headers, and more of those that report what became of another.
    async fn take(
        &self,
        wire: &mut Wire,
        looked: &mut Looked,
        uids: &[u32],
        own: &str,
    ) -> Result<(), String> {
        let set: Vec<String> = uids.iter().map(u32::to_string).collect();
        let asked = format!(
            "UID FETCH {} (UID BODY.PEEK[HEADER.FIELDS ({HEADERS})]<0.{MAX_HEADERS}>)",
            set.join(",")
        );
        for response in wire.command(&asked, None).await? {
            let Some((uid, headers)) = fetched(response).filter(|(uid, _)| uids.contains(uid)) else {
                continue;
            };
            match letter::first(&headers, own) {
                First::Letter(letter) => looked.letters.push(letter),
                First::Report => {
                    let asked = format!("UID FETCH {uid} (UID BODY.PEEK[]<0.{MAX_LITERAL}>)");
                    let whole = wire.command(&asked, None).await?;
                    let whole = whole.into_iter().filter_map(fetched).find(|(found, _)| *found == uid);
                    looked.letters.extend(whole.and_then(|(_, whole)| letter::report(&whole)));
                }
                First::Other => {}
            }
        }
        Ok(())
    }

    async fn sign_in(&self) -> Result<Wire, String> {
        let addresses = self.reach.addresses(&self.host, self.port).await;
        let addresses = addresses.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => format!("the mail server is not used: {error}"),
            _ => "the mail server cannot be reached".to_owned(),
        })?;
        let stream = TcpStream::connect(addresses.as_slice()).await;
        let stream: Box<dyn Stream> = Box::new(stream.map_err(|_| "the mail server cannot be reached")?);
        let mut wire = match self.encryption {
            Encryption::Always => Wire::new(self.encrypt(stream).await?),
            _ => Wire::new(stream),
        };
        let greeting = wire.response().await?;
        if greeting.after("* OK").is_none() {
            return Err("the mail server does not greet as IMAP does".to_owned());
        }
        // Whoever wants no encryption named it so; everybody else's password waits for it.
        if matches!(self.encryption, Encryption::Required | Encryption::WhenOffered) {
            wire.command("STARTTLS", None).await?;
            wire = Wire::new(self.encrypt(wire.into_stream()?).await?);
        }
        let offers = wire.command("CAPABILITY", None).await?;
        let plain = offers.iter().any(|offer| offer.text.to_ascii_uppercase().contains("AUTH=PLAIN"));
        let (user, password) = (&self.user, self.password.reveal());
        if plain {
            let proof = STANDARD.encode(format!("\0{user}\0{password}"));
            wire.command("AUTHENTICATE PLAIN", Some(&proof)).await?;
        } else {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            wire.command(&format!("LOGIN {} {}", quoted(user), quoted(password)), None).await?;
        }
        Ok(wire)
    }

    async fn encrypt(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, String> {
        let name = ServerName::try_from(self.host.clone()).map_err(|_| "the mail server's name is none")?;
        let connector = TlsConnector::from(std::sync::Arc::new(self.reach.tls()?));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                Err(format!("the mail server cannot be trusted: {}", super::one_line(&error.to_string())))
            }
        }
    }
}

/// A mail's number and what came of it.
fn fetched(response: Response) -> Option<(u32, Vec<u8>)> {
    let uid = response.number("UID ")?;
    response.after("* ")?;
    Some((uid, response.literal?))
}
