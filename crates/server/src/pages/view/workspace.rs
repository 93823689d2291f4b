//! Notices, and the account page.

use askama::Template;

use super::account::{Section, Sections};
use super::format::{Figure, QueryValue};
use super::shell::{Flash, Moment, Shell, Tab};

#[derive(Debug, Clone, Template)]
#[template(path = "notifications.html")]
pub struct Notices {
    pub shell: Shell,
    pub rows: Vec<Notice>,
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Notice {
    pub id: String,
    pub tone: NoticeTone,
    pub title: String,
    pub body: String,
    pub at: Moment,
    pub read: bool,
}

/// How serious a notice is: shown as an icon and a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeTone {
    Note,
    Good,
    Low,
    Bad,
}

#[derive(Debug, Clone, Template)]
#[template(path = "settings.html")]
pub struct Settings {
    pub shell: Shell,
    pub workspace_id: String,
    pub time_zone: String,
    /// The e-mail address of who is signed in, if known.
    pub signed_in_as: Option<String>,
    /// Whether the operator is looking in, and can go back.
    pub operator: bool,
    /// Available credits below which the notice goes out, with how it was set: `20% of the plan's credits`
    pub low_below: i64,
    pub low_rule: String,
    pub critical_below: i64,
    pub critical_rule: String,
    pub alert_emails: Vec<String>,
    /// What an admin changes of it.
    pub alerts: AlertForm,
}

/// When warnings go out and to whom, as it is typed.
#[derive(Debug, Clone, Default)]
pub struct AlertForm {
    pub low: String,
    pub critical: String,
    pub emails: String,
    pub wrong_low: Option<&'static str>,
    pub wrong_critical: Option<&'static str>,
    pub wrong_emails: Option<&'static str>,
}
