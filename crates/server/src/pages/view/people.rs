//! Signing in, and the pages under Account about people, keys and sessions.

use askama::Template;

use super::account::{Section, Sections};
use super::format::Figure;
use super::shell::{Flash, Moment, Shell, State, Tab};

/// The pages on the way in.
#[derive(Debug, Clone, Template)]
#[template(path = "sign_in.html")]
pub enum SignIn {
    /// What was typed stays.
    Ask { email: String, wrong: Option<String> },
    /// The same words whether the address is known or not.
    Sent { email: String },
    /// The token of a mailed link.
    Confirm { link: String },
    /// Nothing can be mailed.
    NotConfigured,
}

#[derive(Debug, Clone, Template)]
#[template(path = "account/people.html")]
pub struct People {
    pub shell: Shell,
    pub rows: Vec<Person>,
    pub invite: Invite,
    /// Whether anything can be mailed.
    pub mails: bool,
}

#[derive(Debug, Clone)]
pub struct Person {
    pub email: String,
    pub admin: bool,
    pub last_admin: bool,
    pub you: bool,
    pub since: Moment,
    pub seen: Option<Moment>,
}

/// The form for another person, as it was typed.
#[derive(Debug, Clone, Default)]
pub struct Invite {
    pub email: String,
    pub admin: bool,
    pub wrong: Option<String>,
}

#[derive(Debug, Clone, Template)]
#[template(path = "account/keys.html")]
pub struct Keys {
    pub shell: Shell,
    pub rows: Vec<KeyRow>,
    /// A new secret, shown this once.
    pub secret: Option<String>,
    pub label: String,
    pub wrong: Option<String>,
    pub form_key: String,
}

#[derive(Debug, Clone)]
pub struct KeyRow {
    pub id: String,
    pub label: String,
    pub since: Moment,
    pub revoked: Option<Moment>,
}

#[derive(Debug, Clone, Template)]
#[template(path = "account/sessions.html")]
pub struct Sessions {
    pub shell: Shell,
    pub rows: Vec<Browser>,
}

#[derive(Debug, Clone)]
pub struct Browser {
    pub id: String,
    /// `Firefox on Linux`
    pub name: String,
    /// Whether it is the one that is looking.
    pub here: bool,
    /// Whether it came by a link of the host product.
    pub link: bool,
    pub since: Moment,
    pub seen: Moment,
}

#[derive(Debug, Clone, Template)]
#[template(path = "account/workspaces.html")]
pub struct Workspaces {
    pub shell: Shell,
    pub rows: Vec<WorkspaceRow>,
}

#[derive(Debug, Clone)]
pub struct WorkspaceRow {
    pub id: String,
    pub name: String,
    pub admin: bool,
    pub here: bool,
    pub state: State,
    pub available: i64,
}
