//! The HTTP contract of discovery, enrichment and LinkedIn providers.
//!
//! It owns the requests and the shape of their answers. Statuses and retries are `post`'s.
//!
//! Invariant: an answer that does not keep the contract never becomes a result.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::post::{Effect, Endpoint};
use super::{Outcome, Recovery};
use crate::config::HttpConfig;

/// A provider that speaks the HTTP contract.
#[derive(Debug)]
pub struct HttpProvider {
    endpoint: Endpoint,
    idempotent: bool,
    query: bool,
}

/// One page of a search.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SearchPage {
    /// At most as many as were asked for.
    pub results: Vec<Value>,
    /// Where the next page begins; `None`: this was the last one.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// The contact of a lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Contact {
    /// Whether there is an address at all; then `email` is `Some`.
    pub found: bool,
    /// A well-formed address.
    #[serde(default)]
    pub email: Option<String>,
    /// Whether the provider vouches for it.
    #[serde(default)]
    pub verified: bool,
}

/// One field of a lead.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Field {
    /// Whether the field could be filled; then `value` is `Some` and not null.
    pub found: bool,
    /// Its value.
    #[serde(default)]
    pub value: Option<Value>,
}

/// What became of an invitation or message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Accepted {
    /// Whether it was sent; if not, nothing is owed.
    pub accepted: bool,
    /// The provider's id of it.
    #[serde(default)]
    pub id: Option<String>,
    /// Why it was not accepted, such as `not_connected`.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a LinkedIn provider is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkedinAction {
    /// Invite the lead to connect.
    Invite,
    /// Write to a lead that is connected.
    Message,
}

/// What became of an earlier call.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// It was done; its answer, if the provider keeps it.
    Done(Option<Value>),
    /// It is still being done.
    Pending,
    /// It never arrived.
    NotSeen,
}

impl HttpProvider {
    /// Builds the client; connects to nothing. `name` begins every reason.
    pub fn new(name: &str, config: &HttpConfig) -> Result<HttpProvider, String> {
        let token = config.token.clone();
        let endpoint = Endpoint::new(name, &config.url, token, config.idempotent, config.timeout)?;
        Ok(HttpProvider { endpoint, idempotent: config.idempotent, query: config.query })
    }

    /// What can be done when an outcome is unknown. Asking comes first, because it has no effect of its own.
    pub fn recovery(&self) -> Recovery {
        match (self.query, self.idempotent) {
            (true, _) => Recovery::Query,
            (false, true) => Recovery::Repeat,
            (false, false) => Recovery::Neither,
        }
    }

    /// A look at what a search would find; `kind` is `leads` or `clues`.
    pub async fn preview(
        &self,
        query: &Value,
        kind: &str,
        limit: u32,
        cursor: Option<&str>,
        key: &str,
    ) -> Outcome<SearchPage> {
        self.find("preview", query, kind, limit, cursor, key).await
    }

    /// One page of at most `limit` results; `kind` is `leads` or `clues`.
    pub async fn search(
        &self,
        query: &Value,
        kind: &str,
        limit: u32,
        cursor: Option<&str>,
        key: &str,
    ) -> Outcome<SearchPage> {
        self.find("search", query, kind, limit, cursor, key).await
    }

    /// The e-mail address of a lead.
    pub async fn contact(&self, lead: &Value, key: &str) -> Outcome<Contact> {
        let body = json!({"do": "contact", "lead": lead});
        self.endpoint.post(Effect::Lookup, &body, Some(key), read).await.map(Contact::checked)
    }

    /// The value of one field of a lead.
    pub async fn field(&self, field: &str, lead: &Value, key: &str) -> Outcome<Field> {
        let body = json!({"do": "field", "field": field, "lead": lead});
        self.endpoint.post(Effect::Lookup, &body, Some(key), read).await.map(Field::checked)
    }

    /// Invites or writes to a lead from `account`.
    pub async fn linkedin(
        &self,
        action: LinkedinAction,
        lead: &Value,
        text: &str,
        account: &str,
        key: &str,
    ) -> Outcome<Accepted> {
        let action = match action {
            LinkedinAction::Invite => "invite",
            LinkedinAction::Message => "message",
        };
        let body = json!({"do": action, "lead": lead, "text": text, "account": account});
        self.endpoint.post(Effect::Send, &body, Some(key), read).await
    }

    /// What became of the call under `key`. Only for providers whose recovery is `Query`.
    pub async fn status(&self, key: &str) -> Outcome<Status> {
        if !self.query {
            return Outcome::Unavailable {
                reason: "the provider does not answer about earlier calls".into(),
            };
        }
        // No Idempotency-Key: under the asked key the provider would have to repeat that call's answer, and under
        // any fixed one it would have to answer "pending" for ever.
        self.endpoint.post(Effect::None, &json!({"do": "status", "key": key}), None, read_status).await
    }

    async fn find(
        &self,
        action: &str,
        query: &Value,
        kind: &str,
        limit: u32,
        cursor: Option<&str>,
        key: &str,
    ) -> Outcome<SearchPage> {
        let body = json!({"do": action, "kind": kind, "query": query, "limit": limit, "cursor": cursor});
        let page = self.endpoint.post(Effect::Lookup, &body, Some(key), read_page).await;
        page.map(|page| page.checked(limit, cursor))
    }
}

impl SearchPage {
    fn checked(mut self, limit: u32, cursor: Option<&str>) -> SearchPage {
        // Only as many as were asked for are held, so only as many can be kept.
        self.results.truncate(limit as usize);
        // An empty cursor, or the same again, would fetch the same page for ever.
        self.next_cursor = self.next_cursor.filter(|next| !next.is_empty() && Some(next.as_str()) != cursor);
        self
    }
}

impl Contact {
    /// "Found" without a well-formed address is nothing found.
    fn checked(self) -> Contact {
        let address = |email: &String| email.parse::<lettre::Address>().is_ok();
        match self.email.map(|email| email.trim().to_owned()).filter(address) {
            Some(email) if self.found => Contact { found: true, email: Some(email), verified: self.verified },
            _ => Contact::default(),
        }
    }
}

impl Field {
    /// "Found" without a value is nothing found.
    fn checked(self) -> Field {
        let empty =
            |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        match self.value {
            Some(value) if self.found && !empty(&value) => Field { found: true, value: Some(value) },
            _ => Field::default(),
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<Result<T, String>> {
    serde_json::from_slice(body).ok().map(Ok)
}

/// A cursor is sent back with every call and kept in between, so one that is larger than this is not taken.
const MAX_CURSOR: usize = 4_000;

fn read_page(body: &[u8]) -> Option<Result<SearchPage, String>> {
    let page: SearchPage = serde_json::from_slice(body).ok()?;
    let fits = page.next_cursor.as_ref().is_none_or(|cursor| cursor.len() <= MAX_CURSOR);
    fits.then_some(Ok(page))
}

fn read_status(body: &[u8]) -> Option<Result<Status, String>> {
    #[derive(Deserialize)]
    struct Answer {
        status: String,
        #[serde(default)]
        result: Option<Value>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    match answer.status.as_str() {
        "done" => Some(Ok(Status::Done(answer.result))),
        "pending" => Some(Ok(Status::Pending)),
        "not_seen" => Some(Ok(Status::NotSeen)),
        _ => None,
    }
}
