//! Signing in, and the pages under Account about people, keys and sessions.

use askama::Template;

use super::account::{Section, Sections};
use super::format::{Figure, QueryValue};
use super::shell::{Flash, Moment, Shell, State, Tab};

/// The pages on the way in.
#[derive(Debug, Clone, Template)]
#[template(path = "sign_in.html")]
pub enum SignIn {
    Ask(SignInForm),
    /// The same words whether the address is known or not.
    Sent {
        email: String,
    },
    /// The token of a mailed link.
    Confirm {
        link: String,
    },
    /// Nothing can be mailed.
    NoMail,
}

/// The form for a person who is here already; what was typed stays, but for the password.
#[derive(Debug, Clone, Default)]
pub struct SignInForm {
    pub email: String,
    pub wrong_email: Option<&'static str>,
    pub wrong_password: Option<&'static str>,
    /// Whether links can be mailed.
    pub mails: bool,
    /// Whether there is an identity provider.
    pub provider: bool,
}

/// The form for the first Admin of a new server.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "sign_up.html")]
pub struct SignUp {
    pub name: String,
    pub email: String,
    pub wrong_name: Option<&'static str>,
    pub wrong_email: Option<&'static str>,
    pub wrong_password: Option<&'static str>,
}

/// A person's own password.
#[derive(Debug, Clone, Template)]
#[template(path = "account/password.html")]
pub struct Password {
    pub shell: Shell,
    pub email: String,
    /// Whether there is one.
    pub there: bool,
    /// Whether it is asked for before it is changed.
    pub asks: bool,
    /// Whether there is another way in.
    pub removable: bool,
    pub wrong_current: Option<&'static str>,
    pub wrong_new: Option<&'static str>,
    pub wrong_removing: Option<&'static str>,
}

#[derive(Debug, Clone, Template)]
#[template(path = "account/people.html")]
pub struct People {
    pub shell: Shell,
    pub rows: Vec<Person>,
    pub invite: Invite,
    /// Whether anything can be mailed.
    pub mails: bool,
    /// Whether there is an identity provider.
    pub provider: bool,
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
    pub next: Option<String>,
    /// A new secret, shown this once.
    pub secret: Option<String>,
    /// The form for another, as it was typed.
    pub label: String,
    pub scope: &'static str,
    pub wrong: Option<String>,
    pub form_key: String,
}

impl Keys {
    fn gives(&self, scope: &str) -> bool {
        self.scope == scope
    }
}

#[derive(Debug, Clone)]
pub struct KeyRow {
    pub id: String,
    pub label: String,
    /// `read`, `charge` or `manage`.
    pub scope: &'static str,
    pub used: Option<Moment>,
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
    /// `by mail`
    pub came: &'static str,
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
