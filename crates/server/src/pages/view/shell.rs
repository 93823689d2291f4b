//! What every page of a workspace has around its content: navigation, the balance chip, the state banner.
//!
//! The chip, the banner and the unread count are templates of their own with fixed ids, so that the same
//! markup is drawn into the page and later streamed to replace itself (see `Live`).

use askama::Template;
use askama::filters::HtmlSafe;

use super::format::Figure;

/// A moment, in the workspace's zone and in UTC.
#[derive(Debug, Clone, Template)]
#[template(source = r#"<time datetime="{{ utc }}" title="{{ title }}">{{ local }}</time>"#, ext = "html")]
pub struct Moment {
    /// RFC 3339, `2026-11-22T15:04:00Z`
    pub utc: String,
    /// `22 Nov 2026 15:04 UTC`
    pub title: String,
    /// `22 Nov 16:04`
    pub local: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Admin,
    Member,
}

impl Role {
    pub fn is_admin(&self) -> bool {
        *self == Role::Admin
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Healthy,
    Low,
    Critical,
    Out,
}

impl State {
    pub fn name(&self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Low => "low",
            State::Critical => "critical",
            State::Out => "out",
        }
    }
}

/// Which navigation link is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    Campaigns,
    Leads,
    Searches,
    Billing,
    Notices,
    Account,
}

#[derive(Debug, Clone)]
pub struct Shell {
    pub workspace: String,
    pub role: Role,
    /// Whether somebody came in by themselves, and may be in other workspaces too.
    pub person: bool,
    /// None on pages outside the navigation (an error).
    pub tab: Option<Tab>,
    pub chip: Chip,
    pub banner: Banner,
    pub unread: Unread,
    /// The outcome of the form just posted, shown once.
    pub flash: Option<Flash>,
}

impl Shell {
    pub fn on(&self, tab: Tab) -> bool {
        self.tab == Some(tab)
    }
}

#[derive(Debug, Clone)]
pub enum Flash {
    Done(String),
    Failed(String),
}

/// The balance in the navigation, with its popover.
#[derive(Debug, Clone, Template)]
#[template(path = "part/chip.html")]
pub struct Chip {
    pub state: State,
    pub available: i64,
    pub reserved: i64,
    /// What the oldest due piece of work costs, when out.
    pub needed: Option<i64>,
    /// Campaigns paused because credits ran out.
    pub paused_campaigns: i64,
    /// Credits a day over the last 7 days; None without usage.
    pub pace: Option<i64>,
    pub days_left: Option<i64>,
    pub renewal: Option<Renewal>,
    pub role: Role,
    pub as_of: Moment,
}

impl Chip {
    /// What the chip unfolds: an element of its own, because it stands beside the chip, not in it.
    pub(super) fn more(&self) -> ChipMore<'_> {
        ChipMore(self)
    }
}

#[derive(Template)]
#[template(path = "part/chip_more.html")]
pub(super) struct ChipMore<'a>(&'a Chip);

#[derive(Debug, Clone)]
pub struct Renewal {
    /// `14 Dec`
    pub date: String,
    pub credits: i64,
}

/// What the workspace has to know now. Texts are complete sentences in the template.
#[derive(Debug, Clone, Template)]
#[template(path = "part/banner.html")]
pub enum Banner {
    Nothing,
    Low {
        available: i64,
        days_left: Option<i64>,
        active_campaigns: i64,
        role: Role,
    },
    Critical {
        available: i64,
        /// `23 Nov 16:00`
        pauses_around: Option<String>,
        active_campaigns: i64,
        role: Role,
    },
    Out {
        available: i64,
        needed: Option<i64>,
        paused_campaigns: i64,
        waiting_leads: i64,
        /// `14 Dec`
        renewal: Option<String>,
        role: Role,
    },
    Restored {
        added: i64,
        resumed_campaigns: i64,
        overdue_messages: i64,
        overdue_days: i64,
    },
    /// The renewal was declined.
    Unpaid {
        payment: Option<String>,
        role: Role,
    },
    Owed {
        owed: i64,
        role: Role,
    },
}

#[derive(Debug, Clone, Copy, Template)]
#[template(path = "part/unread.html")]
pub struct Unread(pub i64);

/// What every page has, in the live stream: every part replaces the element of its id, where the page has one.
#[derive(Debug, Clone, Template)]
#[template(path = "part/live.html")]
pub struct Live {
    pub chip: Chip,
    pub banner: Banner,
    pub unread: Unread,
}

// Their output is markup that has escaped its own values.
impl HtmlSafe for Moment {}
impl HtmlSafe for Chip {}
impl HtmlSafe for ChipMore<'_> {}
impl HtmlSafe for Banner {}
impl HtmlSafe for Unread {}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(state: State, available: i64, needed: Option<i64>, paused_campaigns: i64) -> Chip {
        let as_of = Moment { utc: String::new(), title: String::new(), local: String::new() };
        let (pace, days_left, renewal, role) = (None, None, None, Role::Member);
        Chip {
            state,
            available,
            reserved: 0,
            needed,
            paused_campaigns,
            pace,
            days_left,
            renewal,
            role,
            as_of,
        }
    }

    #[test]
    fn the_chip_says_what_is_available() {
        let cases = [
            (chip(State::Healthy, 6_400, None, 0), "6,400 credits"),
            (chip(State::Low, 1_240, None, 0), "1,240 credits · low"),
            (chip(State::Critical, 310, None, 0), "310 credits · critical"),
            (chip(State::Out, 4, Some(6), 3), "4 credits · campaigns paused (next step needs 6)"),
            (chip(State::Out, 0, None, 0), "0 credits · out"),
        ];
        for (chip, words) in cases {
            let html = chip.render().expect("a chip always renders");
            assert!(html.contains(&format!("<span>{words}</span>")), "{words} in {html}");
            let data = format!(r#"data-available="{}" data-state="{}""#, chip.available, chip.state.name());
            assert!(html.contains(&data), "{data} in {html}");
        }
    }

    #[test]
    fn values_are_escaped_inside_nested_templates() {
        let as_of = Moment { utc: "\"><script>".into(), title: String::new(), local: "<b>".into() };
        let html = Chip { as_of, ..chip(State::Low, 1, None, 0) }.more().render().expect("it always renders");
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
    }
}
