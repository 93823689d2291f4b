//! Senders under Account: whom the workspace sends from, how much and when. For admins. How a mail server is reached is typed here and
//! never shown again.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::campaigns::number;
use super::frame::{Page, Trouble, go, html};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::view::{MailboxRow, SenderForm, SenderPage, SenderRow, Senders, Tab};
use crate::app::App;
use crate::config::Secret;
use crate::id;
use crate::outreach::{self, HoursText, NewSender, SenderChange};
use crate::store::senders::{Change, MAX_SENDERS, Sender, SenderKind};

const PAGE: &str = "/settings/senders";

/// All senders, and the form for another.
pub async fn list(State(app): State<App>, visitor: Visitor) -> Page {
    visitor.settings()?;
    let (daily_limit, days) = ("100".to_owned(), days(|_| false));
    let form = SenderForm { email: true, daily_limit, days, ..SenderForm::default() };
    all(&app, &visitor, StatusCode::OK, form).await
}

async fn all(app: &App, visitor: &Visitor, status: StatusCode, form: SenderForm) -> Page {
    let scene = Scene::load(app, visitor).await?;
    let senders = app.store.senders(visitor.workspace, None, MAX_SENDERS).await?;
    let rows = senders.into_iter().map(|sender| row(&scene, sender)).collect();
    let form_key = session::form_key();
    html(status, &Senders { shell: scene.shell(Some(Tab::Account)), rows, form, form_key })
}

fn row(scene: &Scene, sender: Sender) -> SenderRow {
    let zone = &scene.workspace.time_zone;
    let hours = sender.hours.as_ref().map(|hours| {
        let HoursText { from, to, days } = outreach::hours_text(hours);
        let days = days.filter(|days| days.len() < 7).map(|days| format!(", {}", days.join(" ")));
        format!("{from} to {to}{}", days.unwrap_or_default())
    });
    SenderRow {
        id: id::inside("sender", scene.workspace.id, sender.id),
        email: sender.kind == SenderKind::Email,
        sent_today: sender.sent_today(zone, scene.now),
        through: match sender.kind {
            SenderKind::Email => sender.server.unwrap_or_else(|| "this service's mail server".to_owned()),
            SenderKind::Linkedin => sender.account.unwrap_or_default(),
        },
        mailbox: sender.mailbox.map(|mailbox| MailboxRow {
            server: mailbox.server,
            looked: mailbox.looked_at.map(|at| scene.moment(at)),
            trouble: mailbox.trouble,
        }),
        from: sender.from,
        daily_limit: sender.daily_limit,
        hours: hours.unwrap_or_else(|| "at any hour".to_owned()),
        spacing: sender.spacing,
        active: sender.active,
    }
}

/// A sender as it is typed.
#[derive(Default)]
struct Typed {
    form_key: String,
    kind: String,
    from: String,
    account: String,
    smtp_url: String,
    imap_url: String,
    daily_limit: String,
    hours: String,
    days: Vec<String>,
    spacing: String,
}

impl From<Vec<(String, String)>> for Typed {
    fn from(form: Vec<(String, String)>) -> Typed {
        let mut typed = Typed::default();
        for (name, value) in form {
            match name.as_str() {
                "form_key" => typed.form_key = value,
                "kind" => typed.kind = value,
                "from" => typed.from = value,
                "account" => typed.account = value,
                "smtp_url" => typed.smtp_url = value,
                "imap_url" => typed.imap_url = value,
                "daily_limit" => typed.daily_limit = value,
                "hours" => typed.hours = value,
                "day" => typed.days.push(value),
                "spacing" => typed.spacing = value,
                _ => {}
            }
        }
        typed
    }
}

impl Typed {
    /// What was typed, without what is secret, and what is wrong with it.
    fn again(self, wrong: String) -> SenderForm {
        let days = days(|day| self.days.iter().any(|chosen| chosen == day));
        let Typed { from, account, daily_limit, hours, spacing, .. } = self;
        let email = self.kind != "linkedin";
        SenderForm { email, from, account, daily_limit, hours, days, spacing, wrong: Some(wrong) }
    }

    fn read(&self) -> Result<NewSender, String> {
        let (daily_limit, hours, spacing) = self.limits()?;
        Ok(NewSender {
            kind: self.kind.clone(),
            from: some(&self.from),
            smtp_url: some(&self.smtp_url).map(Secret::new),
            imap_url: some(&self.imap_url).map(Secret::new),
            account: some(&self.account),
            daily_limit,
            hours,
            spacing,
        })
    }

    /// Sends a day, hours, and seconds between two. Days without hours are whole days.
    fn limits(&self) -> Result<(i64, Option<HoursText>, i64), String> {
        let whole = |what: &str, text: &str| {
            text.trim().parse::<i64>().map_err(|_| format!("{what}: must be a whole number."))
        };
        let days = Some(self.days.clone()).filter(|days| !days.is_empty());
        let hours = some(&self.hours).or(days.as_ref().map(|_| "00:00-24:00".to_owned()));
        let hours = hours.map(|hours| {
            let (from, to) = hours.split_once('-').unwrap_or((&hours, ""));
            HoursText { from: from.trim().to_owned(), to: to.trim().to_owned(), days }
        });
        let spacing = some(&self.spacing).map_or(Ok(0), |text| whole("Seconds between two", &text))?;
        Ok((whole("Sends a day", &self.daily_limit)?, hours, spacing))
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The days of a week, and which of them are chosen.
fn days(chosen: impl Fn(&str) -> bool) -> Vec<(&'static str, bool)> {
    outreach::DAYS.into_iter().map(|day| (day, chosen(day))).collect()
}

fn told(fault: outreach::Fault) -> String {
    format!("{}: {}.", label(&fault.field), fault.reason)
}

/// Adds a sender. A form that is sent twice adds one.
pub async fn create(
    State(app): State<App>,
    visitor: Visitor,
    Form(form): Form<Vec<(String, String)>>,
) -> Page {
    visitor.settings()?;
    let typed = Typed::from(form);
    let key = session::stored_key(&typed.form_key)?;
    let made = typed.read().and_then(|new| outreach::new_sender(&app, visitor.workspace, new).map_err(told));
    let sender = match made {
        Ok(sender) => sender,
        Err(wrong) => {
            return all(&app, &visitor, StatusCode::UNPROCESSABLE_ENTITY, typed.again(wrong)).await;
        }
    };
    if !app.store.first_use(visitor.workspace, key).await? {
        return Ok(go(&app, PAGE, "form-sent"));
    }
    app.store.create_sender(visitor.workspace, sender).await?;
    Ok(go(&app, PAGE, "sender-added"))
}

/// A field in the words of the form.
fn label(field: &str) -> &str {
    match field {
        "from" => "From",
        "account" => "LinkedIn account",
        "smtp_url" => "Mail server",
        "imap_url" => "Mailbox",
        "daily_limit" => "Sends a day",
        "hours" => "Hours",
        "spacing_seconds" => "Seconds between two",
        other => other,
    }
}

/// One sender, and the form that changes its limits.
pub async fn page(State(app): State<App>, visitor: Visitor, Path(sender): Path<String>) -> Page {
    visitor.settings()?;
    let sender = app.store.sender(visitor.workspace, number(&visitor, "sender", &sender)?).await?;
    let hours = sender.hours.as_ref().map(outreach::hours_text);
    let chosen = hours.as_ref().and_then(|hours| hours.days.clone()).filter(|days| days.len() < 7);
    let form = SenderForm {
        daily_limit: sender.daily_limit.to_string(),
        days: days(|day| chosen.iter().flatten().any(|chosen| chosen == day)),
        hours: hours.map(|hours| format!("{}-{}", hours.from, hours.to)).unwrap_or_default(),
        spacing: sender.spacing.to_string(),
        ..SenderForm::default()
    };
    one(&app, &visitor, StatusCode::OK, sender, form).await
}

async fn one(app: &App, visitor: &Visitor, status: StatusCode, sender: Sender, form: SenderForm) -> Page {
    let scene = Scene::load(app, visitor).await?;
    html(status, &SenderPage { shell: scene.shell(Some(Tab::Account)), row: row(&scene, sender), form })
}

/// Changes the limits of a sender.
pub async fn change(
    State(app): State<App>,
    visitor: Visitor,
    Path(sender): Path<String>,
    Form(form): Form<Vec<(String, String)>>,
) -> Page {
    visitor.settings()?;
    let (workspace, number) = (visitor.workspace, number(&visitor, "sender", &sender)?);
    let (old, typed) = (app.store.sender(workspace, number).await?, Typed::from(form));
    let read = typed.limits().and_then(|(daily_limit, hours, spacing)| {
        let (daily_limit, spacing) = (Some(daily_limit), Some(spacing));
        let change = SenderChange { daily_limit, hours: Some(hours), spacing, ..SenderChange::default() };
        outreach::sender_change(&app, workspace, &old, change).map_err(told)
    });
    let change = match read {
        Ok(change) => change,
        Err(wrong) => {
            return one(&app, &visitor, StatusCode::UNPROCESSABLE_ENTITY, old, typed.again(wrong)).await;
        }
    };
    app.store.update_sender(workspace, number, change).await?;
    app.nudge();
    Ok(go(&app, PAGE, "sender-changed"))
}

/// Turns a sender on or off.
pub async fn act(
    State(app): State<App>,
    visitor: Visitor,
    Path((sender, act)): Path<(String, String)>,
) -> Page {
    visitor.settings()?;
    let (workspace, number) = (visitor.workspace, number(&visitor, "sender", &sender)?);
    let (active, flash) = match act.as_str() {
        "on" => (true, "sender-on"),
        "off" => (false, "sender-off"),
        _ => return Err(Trouble::not_found()),
    };
    let change = Change { active: Some(active), ..Change::default() };
    app.store.update_sender(workspace, number, change).await?;
    app.nudge();
    Ok(go(&app, PAGE, flash))
}
