//! A mail server that keeps mails in one mailbox and tells of them over IMAP, with good manners or bad ones.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const PASSWORD: &str = "quiet word\"\\";

/// How the server behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Manners {
    #[default]
    Good,
    /// Offers no AUTHENTICATE, so that LOGIN is used.
    OnlyLogin,
    /// Takes no password.
    Refuses,
    /// Is no IMAP server at all.
    Stranger,
    /// Says nothing of its numbering.
    Unnumbered,
    /// Answers with lines that never end a command.
    Babbles,
    /// Answers with one line that never ends.
    Rambles,
    /// Answers with a hundred thousand brackets before what was asked for.
    Brackets,
    /// Announces four gigabytes.
    Boasts,
    /// Closes the connection in the middle of a mail.
    Vanishes,
    /// Tells of mails that nobody asked for.
    Intrudes,
    /// Sends each mail whole, whatever part was asked for, and a large one at that.
    Spills,
}

#[derive(Default)]
struct State {
    manners: Manners,
    validity: u32,
    mails: Vec<(u32, String)>,
    commands: Vec<String>,
}

/// A running server.
pub struct Mailbox {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Mailbox {
    pub async fn start() -> Mailbox {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { validity: 7, ..State::default() }));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                // Whoever hangs up is not answered any more.
                tokio::spawn(async move { drop(converse(stream, state).await) });
            }
        });
        let url = format!("imap://ann%40example.com:quiet%20word%22%5C@{address}");
        Mailbox { url, state }
    }

    pub fn behave(&self, manners: Manners) {
        self.state.lock().expect("the state").manners = manners;
    }

    /// Puts a mail into the mailbox.
    pub fn deliver(&self, mail: String) {
        let mut state = self.state.lock().expect("the state");
        let uid = state.mails.last().map_or(1, |(uid, _)| uid + 3);
        state.mails.push((uid, mail));
    }

    /// Numbers all mails anew, as a server does that lost its index.
    pub fn renumber(&self) {
        let mut state = self.state.lock().expect("the state");
        state.validity += 1;
        state.mails.iter_mut().enumerate().for_each(|(index, (uid, _))| *uid = index as u32 + 1);
    }

    /// Every command so far, without what follows AUTHENTICATE and LOGIN.
    pub fn commands(&self) -> Vec<String> {
        self.state.lock().expect("the state").commands.clone()
    }

    /// How often whole mails were asked for.
    pub fn whole(&self) -> usize {
        self.commands().iter().filter(|command| command.contains("BODY.PEEK[]")).count()
    }
}

async fn converse(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let manners = state.lock().expect("the state").manners;
    let greeting = if manners == Manners::Stranger { "HTTP/1.1 400 Bad Request" } else { "* OK ready" };
    writer.write_all(format!("{greeting}\r\n").as_bytes()).await?;
    while let Some(line) = lines.next_line().await? {
        let (tag, command) = line.split_once(' ').unwrap_or((&line, ""));
        let word = command.split(' ').next().unwrap_or_default().to_owned();
        let told = if word == "LOGIN" { word.clone() } else { command.to_owned() };
        state.lock().expect("the state").commands.push(told);
        let known = match word.as_str() {
            "AUTHENTICATE" => {
                writer.write_all(b"+ \r\n").await?;
                let proof = lines.next_line().await?.unwrap_or_default();
                STANDARD.decode(proof).ok() == Some(format!("\0ann@example.com\0{PASSWORD}").into_bytes())
            }
            "LOGIN" => command == r#"LOGIN "ann@example.com" "quiet word\"\\""#,
            _ => true,
        };
        if !known || (manners == Manners::Refuses && matches!(word.as_str(), "LOGIN" | "AUTHENTICATE")) {
            writer.write_all(format!("{tag} NO [AUTHENTICATIONFAILED] not you\r\n").as_bytes()).await?;
            continue;
        }
        let answer = answer(&state.lock().expect("the state"), command);
        if manners == Manners::Babbles && word == "EXAMINE" {
            while writer.write_all(b"* OK still here\r\n").await.is_ok() {}
        }
        if manners == Manners::Rambles && word == "EXAMINE" {
            while writer.write_all(&[b'x'; 4_096]).await.is_ok() {}
        }
        if manners == Manners::Vanishes && command.contains("FETCH") {
            return writer.write_all(&answer.as_bytes()[..answer.len() / 2]).await;
        }
        writer.write_all(format!("{answer}{tag} OK done\r\n").as_bytes()).await?;
        if word == "LOGOUT" {
            return Ok(());
        }
    }
    Ok(())
}

/// What comes before a command's `OK`.
fn answer(state: &State, command: &str) -> String {
    let next = state.mails.last().map_or(1, |(uid, _)| uid + 1);
    if command == "CAPABILITY" {
        let login = if state.manners == Manners::OnlyLogin { "" } else { " AUTH=PLAIN" };
        return format!("* CAPABILITY IMAP4rev1{login}\r\n");
    }
    if command.starts_with("EXAMINE") {
        let validity = match state.manners {
            Manners::Unnumbered => String::new(),
            _ => format!("* OK [UIDVALIDITY {}] fine\r\n", state.validity),
        };
        return format!("* {} EXISTS\r\n{validity}* OK [UIDNEXT {next}] fine\r\n", state.mails.len());
    }
    if let Some(asked) = command.strip_prefix("UID SEARCH ") {
        let first = asked.strip_prefix("UID ").and_then(|range| range.strip_suffix(":*"));
        let first: u32 = first.map_or(0, |first| first.parse().expect("a number"));
        // A range that ends with * always has the last one in it.
        let found = state.mails.iter().filter(|(uid, _)| *uid >= first || uid + 1 == next);
        let found: Vec<String> = found.map(|(uid, _)| uid.to_string()).collect();
        return format!("* SEARCH {}\r\n", found.join(" "));
    }
    let Some((uids, part)) = command.strip_prefix("UID FETCH ").and_then(|asked| asked.split_once(' '))
    else {
        return String::new();
    };
    let asked: Vec<u32> = uids.split(',').map(|uid| uid.parse().expect("a number")).collect();
    let all = state.manners == Manners::Intrudes;
    state
        .mails
        .iter()
        .filter(|(uid, _)| all || asked.contains(uid))
        .map(|mail| fetched(state, mail, part))
        .collect()
}

fn fetched(state: &State, (uid, mail): &(u32, String), part: &str) -> String {
    let headers = mail.split_once("\r\n\r\n").map_or(mail.as_str(), |(headers, _)| headers);
    let body = match state.manners {
        Manners::Spills => format!("{mail}{}", "x".repeat(300_000)),
        _ if part.contains("HEADER.FIELDS") => format!("{headers}\r\n\r\n"),
        _ => mail.clone(),
    };
    let brackets = if state.manners == Manners::Brackets { "(".repeat(100_000) } else { String::new() };
    let size = if state.manners == Manners::Boasts { 4_000_000_000 } else { body.len() };
    // Flags that nobody asked for, and the number behind the mail, are both allowed.
    format!("* 1 FETCH (FLAGS (\\Seen){brackets} BODY[]<0> {{{size}}}\r\n{body} UID {uid})\r\n")
}
