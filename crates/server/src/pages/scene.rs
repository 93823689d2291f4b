//! Everything around a page's content, read once per page: the workspace, its balance, and how it stands.
//!
//! The chip, the banner and the figures of a page come from one balance, so they can never disagree.

use billing::Time;
use billing::alerts::Level;
use billing::units::DAY;

use super::frame::Trouble;
use super::session::Visitor;
use super::view::{Banner, Chip, Flash, Moment, Renewal, Role, Shell, State, Tab, Unread};
use crate::app::App;
use crate::store::queries::Balance;
use crate::store::subscriptions::Standing as Subscription;
use crate::store::summary::Standing;
use crate::store::workspaces::Workspace;
use crate::{calendar, clock, store};

/// Forecasts further away than this many days say nothing: a date without a year would mislead.
const FORESEEABLE: i64 = 330;

/// A workspace as one visitor sees it at one moment.
pub struct Scene {
    pub now: Time,
    pub workspace: Workspace,
    pub balance: Balance,
    pub standing: Standing,
    pub role: Role,
    person: bool,
    flash: Option<Flash>,
    /// The payment of a renewal that was declined.
    unpaid: Option<String>,
}

impl Scene {
    /// Reads it.
    pub async fn load(app: &App, visitor: &Visitor) -> Result<Scene, Trouble> {
        let scene = Scene::of(app, visitor.workspace, Scene::role(visitor.role)).await?;
        let (person, flash) = (visitor.way.is_person(), visitor.flash.clone());
        Ok(Scene { person, flash, ..scene })
    }

    /// Reads what everybody of a role sees.
    pub async fn of(app: &App, workspace: i64, role: Role) -> Result<Scene, Trouble> {
        let standing = app.store.standing(workspace).await?;
        let (workspace, balance) = (app.store.workspace(workspace).await?, app.balance(workspace).await?);
        let unpaid = match workspace.subscription {
            Some(Subscription::PastDue) => app.store.subscription(workspace.id).await?.awaited,
            _ => None,
        };
        let (now, unpaid) = (app.clock.now(), unpaid.map(|payment| payment.name()));
        Ok(Scene { now, workspace, balance, standing, role, person: false, flash: None, unpaid })
    }

    /// Whose pages somebody sees: the operator, looking in, sees those of an admin.
    pub fn role(role: store::people::Role) -> Role {
        if role == store::people::Role::Member { Role::Member } else { Role::Admin }
    }

    /// The workspace's time zone.
    pub fn zone(&self) -> &str {
        &self.workspace.time_zone
    }

    /// A moment in the workspace's zone.
    pub fn moment(&self, time: Time) -> Moment {
        Scene::moment_in(time, self.zone())
    }

    /// A moment in a zone.
    pub fn moment_in(time: Time, zone: &str) -> Moment {
        Moment {
            utc: clock::rfc3339(time),
            title: calendar::local(time, "UTC").strftime("%-d %b %Y %H:%M UTC").to_string(),
            local: calendar::minute(time, zone),
        }
    }

    /// Credits a day over the last 7 days, rounded; `None` when nothing was used.
    pub fn pace(&self) -> Option<i64> {
        let week = self.standing.charged_week;
        (week > 0).then_some((week.saturating_add(3)) / 7)
    }

    /// Whole days that the available credits last at that pace.
    pub fn days_left(&self) -> Option<i64> {
        self.pace().filter(|pace| *pace > 0).map(|pace| self.balance.available / pace)
    }

    /// When the available credits are used up at that pace, if that is soon enough to say.
    pub fn used_up_at(&self) -> Option<Time> {
        let pace = self.pace().filter(|pace| *pace > 0)?;
        let left = i128::from(self.balance.available) * i128::from(DAY) / i128::from(pace);
        let soon = left > 0 && left <= i128::from(FORESEEABLE * DAY);
        soon.then(|| Time(self.now.0 + left as i64))
    }

    /// The next renewal.
    pub fn renewal(&self) -> Option<Renewal> {
        let (at, credits) = (self.balance.renews_at?, self.balance.renewal_credits?);
        Some(Renewal { date: calendar::day(at, self.zone()), credits })
    }

    /// What the oldest due piece of work costs, while the workspace is out.
    pub fn needed(&self) -> Option<i64> {
        self.balance.needed.filter(|_| self.balance.level == Level::Out)
    }

    /// Everything around the content.
    pub fn shell(&self, tab: Option<Tab>) -> Shell {
        Shell {
            workspace: self.workspace.name.clone(),
            role: self.role,
            person: self.person,
            tab,
            chip: self.chip(),
            banner: self.banner(),
            unread: Unread(self.standing.unread),
            flash: self.flash.clone(),
        }
    }

    /// The balance in the navigation.
    pub fn chip(&self) -> Chip {
        Chip {
            state: state(self.balance.level),
            available: self.balance.available,
            reserved: self.balance.held,
            needed: self.needed(),
            paused_campaigns: self.standing.paused_campaigns,
            pace: self.pace(),
            days_left: self.days_left(),
            renewal: self.renewal(),
            role: self.role,
            as_of: self.moment(self.now),
        }
    }

    /// What the workspace has to know now.
    pub fn banner(&self) -> Banner {
        let (available, role) = (self.balance.available, self.role);
        if self.balance.debt > 0 {
            return Banner::Owed { owed: self.balance.debt, role };
        }
        if self.balance.level == Level::Out {
            return Banner::Out {
                available,
                needed: self.needed(),
                paused_campaigns: self.standing.paused_campaigns,
                waiting_leads: self.standing.waiting_leads,
                renewal: self.renewal().map(|renewal| renewal.date),
                role,
            };
        }
        if let Some(restored) = self.standing.restored.filter(|it| it.is_told(self.now)) {
            let (added, resumed_campaigns) = (restored.added, restored.resumed_campaigns);
            let (overdue_messages, overdue_days) = restored.overdue.unwrap_or_default();
            return Banner::Restored { added, resumed_campaigns, overdue_messages, overdue_days };
        }
        if self.workspace.subscription == Some(Subscription::PastDue) {
            return Banner::Unpaid { payment: self.unpaid.clone(), role };
        }
        let active_campaigns = self.standing.active_campaigns;
        match self.balance.level {
            Level::Critical => {
                let pauses_around = self.used_up_at().map(|at| calendar::minute(at, self.zone()));
                Banner::Critical { available, pauses_around, active_campaigns, role }
            }
            Level::Low => Banner::Low { available, days_left: self.days_left(), active_campaigns, role },
            Level::Healthy | Level::Out => Banner::Nothing,
        }
    }
}

/// A level as the screen names it.
pub fn state(level: Level) -> State {
    match level {
        Level::Healthy => State::Healthy,
        Level::Low => State::Low,
        Level::Critical => State::Critical,
        Level::Out => State::Out,
    }
}
