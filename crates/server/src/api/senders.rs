//! Senders: whom a workspace sends from, and how much. How a mail server is reached is never told again.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::error::Error;
use super::extract::{self, Items, Json, Page, Path, Query};
use super::{Answer, about};
use crate::app::App;
use crate::clock::rfc3339;
use crate::config::Secret;
use crate::id;
use crate::outreach::{self, HoursText, NewSender, SenderChange};
use crate::store::senders::{Sender, SenderKind};

/// Sending hours in the workspace's zone, as `09:00-17:00` or in parts.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = NewSendingHours)]
pub enum Hours {
    Range(String),
    Parts(Parts),
}

#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SendingHours)]
pub struct Parts {
    /// `09:00`
    from: String,
    /// `17:00`; `24:00` is the end of the day.
    to: String,
    /// Among `mon` to `sun`; all by default.
    days: Option<Vec<String>>,
}

impl From<Hours> for HoursText {
    fn from(hours: Hours) -> HoursText {
        match hours {
            Hours::Range(range) => {
                let (from, to) = range.split_once('-').unwrap_or((&range, ""));
                HoursText { from: from.trim().to_owned(), to: to.trim().to_owned(), days: None }
            }
            Hours::Parts(Parts { from, to, days }) => HoursText { from, to, days },
        }
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSender)]
pub struct Create {
    /// `email` or `linkedin`.
    kind: String,
    /// The address that mail comes from, with or without a name; of a LinkedIn sender, a name for people.
    #[schema(max_length = 320)]
    from: Option<String>,
    /// Its own mail server; the server's by default. Sealed, and never told again.
    smtp_url: Option<String>,
    /// The mailbox that answers and bounces come into, as `imaps://user:password@host`. Sealed, and never told again.
    imap_url: Option<String>,
    /// The account that the LinkedIn provider knows.
    account: Option<String>,
    #[schema(minimum = 1, maximum = 100_000)]
    daily_limit: i64,
    hours: Option<Hours>,
    /// Seconds between two sends; 0 by default.
    #[schema(minimum = 0, maximum = 86_400)]
    spacing_seconds: Option<i64>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SenderUpdate)]
pub struct Update {
    from: Option<String>,
    /// Null: the server's own again.
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<String>)]
    smtp_url: Option<Option<String>>,
    /// Null: none any more.
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<String>)]
    imap_url: Option<Option<String>>,
    account: Option<String>,
    daily_limit: Option<i64>,
    /// Null: at any hour.
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<Hours>)]
    hours: Option<Option<Hours>>,
    spacing_seconds: Option<i64>,
    /// False: it sends nothing until it is true again.
    active: Option<bool>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Sender)]
pub struct View {
    id: String,
    kind: &'static str,
    from: String,
    account: Option<String>,
    /// The host and port of its own mail server; null: the server's.
    server: Option<String>,
    /// Where answers and bounces are looked for; null: nowhere.
    mailbox: Option<MailboxView>,
    daily_limit: i64,
    hours: Option<Parts>,
    spacing_seconds: i64,
    active: bool,
    /// How many places of today are taken.
    sent_today: i64,
    /// When it may send next; null while it is not active.
    next_at: Option<String>,
    created_at: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Mailbox)]
pub struct MailboxView {
    /// Its host and port.
    server: String,
    /// When it was looked into last.
    looked_at: Option<String>,
    /// Why that failed; null: it did not.
    error: Option<String>,
}

fn view(workspace: i64, zone: &str, now: billing::Time, sender: Sender) -> View {
    let parts = |hours: &crate::store::senders::Hours| {
        let HoursText { from, to, days } = outreach::hours_text(hours);
        Parts { from, to, days }
    };
    View {
        id: id::inside("sender", workspace, sender.id),
        kind: match sender.kind {
            SenderKind::Email => "email",
            SenderKind::Linkedin => "linkedin",
        },
        hours: sender.hours.as_ref().map(parts),
        sent_today: sender.sent_today(zone, now),
        next_at: sender.opens(zone, now).map(rfc3339),
        from: sender.from,
        account: sender.account,
        server: sender.server,
        mailbox: sender.mailbox.map(|mailbox| MailboxView {
            server: mailbox.server,
            looked_at: mailbox.looked_at.map(rfc3339),
            error: mailbox.trouble,
        }),
        daily_limit: sender.daily_limit,
        spacing_seconds: sender.spacing,
        active: sender.active,
        created_at: rfc3339(sender.created_at),
    }
}

async fn show(app: &App, workspace: i64, status: StatusCode, sender: Sender) -> Answer {
    let zone = app.store.workspace(workspace).await?.time_zone;
    about(app, workspace, status, &view(workspace, &zone, app.clock.now(), sender)).await
}

/// Add a sender. Campaigns name the senders whose limits they keep; all campaigns share them.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/senders", params(("ws" = String, Path)), request_body = Create, responses((status = 201, body = View)))]
pub async fn create(State(app): State<App>, here: In, Json(body): Json<Create>) -> Answer {
    let new = NewSender {
        kind: body.kind,
        from: body.from,
        smtp_url: body.smtp_url.map(Secret::new),
        imap_url: body.imap_url.map(Secret::new),
        account: body.account,
        daily_limit: body.daily_limit,
        hours: body.hours.map(HoursText::from),
        spacing: body.spacing_seconds.unwrap_or(0),
    };
    let sender = outreach::new_sender(&app, here.workspace, new)?;
    let sender = app.store.create_sender(here.workspace, sender).await?;
    show(&app, here.workspace, StatusCode::CREATED, sender).await
}

/// Senders, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/senders", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let zone = app.store.workspace(here.workspace).await?.time_zone;
    let rows = app.store.senders(here.workspace, cursor, limit + 1).await?;
    let now = app.clock.now();
    let show = |sender| view(here.workspace, &zone, now, sender);
    let items = Items::new(rows, limit, |sender| sender.id.to_string(), show);
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// Change a sender. What is not named stays; its kind always does.
#[utoipa::path(patch, path = "/v1/workspaces/{ws}/senders/{sender}", params(("ws" = String, Path), ("sender" = String, Path)), request_body = Update, responses((status = 200, body = View)))]
pub async fn update(
    State(app): State<App>,
    here: In,
    Path((_, sender)): Path<(String, String)>,
    Json(body): Json<Update>,
) -> Answer {
    let number = id::parse_inside("sender", &sender).filter(|(owner, _)| *owner == here.workspace);
    let (_, number) = number.ok_or_else(Error::not_found)?;
    let change = SenderChange {
        from: body.from,
        smtp_url: body.smtp_url.map(|url| url.map(Secret::new)),
        imap_url: body.imap_url.map(|url| url.map(Secret::new)),
        account: body.account,
        daily_limit: body.daily_limit,
        hours: body.hours.map(|hours| hours.map(HoursText::from)),
        spacing: body.spacing_seconds,
        active: body.active,
    };
    let old = app.store.sender(here.workspace, number).await?;
    let change = outreach::sender_change(&app, here.workspace, &old, change)?;
    let sender = app.store.update_sender(here.workspace, number, change).await?;
    app.nudge();
    show(&app, here.workspace, StatusCode::OK, sender).await
}
