//! Budgets: how many credits a workspace, a campaign or a member may use in a day, in a period or ever.
//!
//! Owns which work counts together, and which budget refuses when several do: the tightest. It does *not* know where a day or
//! a period begins, nor what was used since: that is handed over.
//!
//! Invariant: what a budget lets through is used and held within it, as long as it is asked before each hold and each charge.

use alloc::sync::Arc;

use crate::hold::Labels;

/// Whose credits count together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// All of the workspace's.
    Workspace,
    /// Those with one campaign label.
    Campaign,
    /// Those with one member label.
    Member,
}

/// In which time they count together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Per {
    /// The workspace's local day.
    Day,
    /// The plan's period; without a plan, the calendar month.
    Period,
    /// Ever.
    Total,
}

/// How many credits may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Whose.
    pub scope: Scope,
    /// Of which campaign or member; `None`: of each, on its own.
    pub label: Option<Arc<str>>,
    /// In which time.
    pub per: Per,
    /// The most.
    pub credits: i64,
}

impl Budget {
    /// The label that work is counted under; `None`: it does not count here.
    pub fn counts<'l>(&self, labels: &'l Labels) -> Option<Option<&'l Arc<str>>> {
        let label = match self.scope {
            Scope::Workspace => return Some(None),
            Scope::Campaign => labels.campaign.as_ref()?,
            Scope::Member => labels.member.as_ref()?,
        };
        self.label.as_ref().is_none_or(|own| own == label).then_some(Some(label))
    }
}

/// A budget that work counts in, and how far it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sight {
    /// The budget.
    pub budget: Budget,
    /// What the work is counted under.
    pub label: Option<Arc<str>>,
    /// Charged and not refunded in the budget's time.
    pub spent: i64,
    /// Held by open holds.
    pub held: i64,
    /// The part of it that comes back or is spent within moments, by itself.
    pub passing: i64,
}

impl Sight {
    /// Used so far: what was refunded of an earlier time's charges gives no room beyond the limit.
    pub fn used(&self) -> i64 {
        self.spent.max(0).saturating_add(self.held)
    }

    fn left(&self) -> i64 {
        self.budget.credits.saturating_sub(self.used())
    }
}

/// The no of a budget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Over {
    /// Whose credits count together.
    pub scope: Scope,
    /// Under which label.
    pub label: Option<Arc<str>>,
    /// In which time.
    pub per: Per,
    /// The most.
    pub limit: i64,
    /// Used and held so far.
    pub used: i64,
    /// Asked for now.
    pub needed: i64,
    /// Whether there may be room within moments, when what is at work now ends for less.
    pub may_pass: bool,
}

/// What the tightest of these budgets says to so many credits more; `None`: all of them have room. Of two that leave the same,
/// the first refuses.
pub fn refusal(sights: &[Sight], needed: i64) -> Option<Over> {
    let refuses = |sight: &&Sight| needed > 0 && needed > sight.left();
    let tightest = sights.iter().filter(refuses).min_by_key(|sight| sight.left())?;
    let Budget { scope, per, credits, .. } = tightest.budget;
    Some(Over {
        scope,
        label: tightest.label.clone(),
        per,
        limit: credits,
        used: tightest.used(),
        needed,
        may_pass: needed <= tightest.left().saturating_add(tightest.passing),
    })
}
