//! The ledger's rows: accounts, grants and holds. Entries are in `page`, keys in `keys`, the forms of columns in `codec`.
//!
//! Owns how the rules' values are written and read. It does *not* decide.
//!
//! Invariant: all of these can be rebuilt from the pages.
//!
//! | step of a charge | statements |
//! |---|---|
//! | look the key up | none, or 1 select for each segment that may have it |
//! | load the account, once while it is cached | 3 selects |
//! | journal an entry | 1 insert |
//! | later, many entries of a workspace together | 1 insert into `page` |
//! | later, 128 keys | 1 insert into their segment |
//! | later, each grant and usage slot that many entries changed, each hold still open, and the account | 1 upsert |

use std::sync::Arc;

use billing::account::Grant;
use billing::alerts::{Level, Thresholds, Watch};
use billing::ledger::GrantTerms;
use billing::units::DAY;
use billing::{Account, Amount, Hold, Labels, Price, Seq, Time};

use super::Error;
use super::budgets::Budgets;
use super::codec::{
    grant_kind, hold_status, level, parts, parts_text, release_code, release_reason, threshold,
};
use super::db::{Row, Tx, Value};
use super::page::{self, Waiting};
use crate::values;

/// How long a spent grant stays in the account: percentages are of what was granted in this time.
pub const RECENT: i64 = 30 * DAY;

/// An account with what goes with it between batches.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The account.
    pub account: Account,
    /// Its alerts.
    pub watch: Watch,
    /// The workspace's thresholds.
    pub thresholds: Thresholds,
    /// Credits of the plan's grant.
    pub plan_credits: Option<i64>,
    /// Below how many available credits more are bought by themselves.
    pub buy_below: Option<i64>,
    /// Whether that was noticed already.
    pub is_buying: bool,
    /// Hash of the last entry.
    pub hash: [u8; 32],
    /// How it stands.
    pub level: Level,
    /// Entries that the account has and the tables do not have yet.
    pub waiting: Waiting,
    /// The workspace's budgets, if it has any.
    pub budgets: Option<Box<Budgets>>,
}

impl Cached {
    /// What percentages are of: the plan's grant, or what was granted in the last 30 days.
    pub fn basis(&self, now: Time) -> i64 {
        let is_recent = |grant: &Grant| grant.granted_at.0 >= now.0 - RECENT && grant.scheduled == 0;
        let recent = || self.account.grants.values().filter(|grant| is_recent(grant));
        let granted = || recent().map(|grant| grant.terms.credits.get()).sum();
        self.plan_credits.unwrap_or_else(granted)
    }

    /// A hold, open or ended.
    pub fn hold(&self, tx: &Tx<'_>, workspace: i64, id: Seq) -> Result<Option<Hold>, Error> {
        let Cached { account, waiting, .. } = self;
        match account.holds.get(&id) {
            Some(hold) => Ok(Some(hold.clone())),
            None if id > account.seq => Ok(None),
            None if id >= waiting.first(account.seq) => waiting.hold(id),
            None => load_hold(tx, workspace, id),
        }
    }

    /// The holds whose rows are written with what waits. One that was made and ended meanwhile needs none.
    pub fn changed_holds(&self) -> impl Iterator<Item = &Hold> {
        let Cached { account, waiting, .. } = self;
        let made = account.holds.range(waiting.first(account.seq)..).map(|hold| hold.1);
        waiting.holds.iter().map(|id| &account.holds[id]).chain(made.filter(|hold| hold.is_open()))
    }

    /// Forgets the holds that can be found in what waits and have no row.
    pub fn forget_ended(&mut self) {
        let (first, waiting) = (self.waiting.first(self.account.seq), &self.waiting);
        self.account.forget_ended(|id| id < first || waiting.holds.contains(&id));
    }

    /// The grants whose credits were moved by what waits.
    pub fn moved_grants(&self) -> impl Iterator<Item = &Grant> {
        self.waiting.grants.iter().map(|id| &*self.account.grants[id])
    }
}

/// Loads accounts that are asked for together; `None` for an unknown workspace.
pub fn load(tx: &Tx<'_>, whose: &[i64], now: Time) -> Result<Vec<Option<Cached>>, Error> {
    let named: Vec<_> = whose.iter().map(|workspace| values![*workspace].to_owned()).collect();
    let recent: Vec<_> =
        whose.iter().map(|workspace| values![*workspace, now.0 - RECENT].to_owned()).collect();
    let accounts = tx.query_each(
        "select a.seq, a.at, a.debt, a.hash, a.level, a.low_armed, a.critical_armed, a.low_mailed_at, a.critical_mailed_at,
           a.out_since, a.restored_at, a.needed, w.low, w.critical, w.plan_credits, b.below,
           case when b.due_at is not null or b.payment is not null then 1 else 0 end,
           case when exists (select 1 from budget u where u.workspace = a.workspace) then 1 else 0 end
         from account a join workspace w on w.workspace = a.workspace
         left join auto_buy b on b.workspace = a.workspace and b.enabled = 1 where a.workspace = ?1",
        &named,
        |row| Ok((read_account(row)?, row.int(17)? != 0)),
    )?;
    let live = format!(
        "{GRANT} where workspace = ?1 and (scheduled > 0 or available > 0 or held > 0 or granted_at >= ?2)"
    );
    let grants = tx.query_each(&live, &recent, read_grant)?;
    let open = format!("{HOLD} where workspace = ?1 and {OPEN}");
    let holds = tx.query_each(&open, &named, read_hold)?;
    let mut all = Vec::with_capacity(whose.len());
    for (((mut account, grants), holds), workspace) in accounts.into_iter().zip(grants).zip(holds).zip(whose)
    {
        let Some((mut cached, has_budgets)) = account.pop() else {
            all.push(None);
            continue;
        };
        grants.into_iter().for_each(|grant| cached.account.load_grant(grant));
        holds.into_iter().for_each(|hold| cached.account.load_hold(hold));
        if has_budgets {
            cached.budgets = Some(Budgets::load(tx, *workspace)?);
        }
        all.push(Some(cached));
    }
    Ok(all)
}

fn read_account(row: &Row<'_>) -> Result<Cached, Error> {
    let watch = Watch {
        low_armed: row.int(5)? != 0,
        critical_armed: row.int(6)? != 0,
        low_mailed_at: row.opt_time(7)?,
        critical_mailed_at: row.opt_time(8)?,
        out_since: row.opt_time(9)?,
        restored_at: row.opt_time(10)?,
        needed: row.opt_int(11)?,
    };
    let (low, critical) = (threshold(&row.text(12)?), threshold(&row.text(13)?));
    let mut account = Account::default();
    (account.seq, account.at, account.debt) = (Seq(row.int(0)?), row.time(1)?, row.int(2)?);
    Ok(Cached {
        account,
        watch,
        thresholds: Thresholds { low, critical },
        plan_credits: row.opt_int(14)?,
        buy_below: row.opt_int(15)?,
        is_buying: row.int(16)? != 0,
        hash: row.blob(3)?.try_into().unwrap_or([0; 32]),
        level: level(row.int(4)?),
        waiting: Waiting::default(),
        budgets: None,
    })
}

/// Writes the totals and alerts of accounts.
pub fn save_accounts<'a>(tx: &Tx<'_>, all: impl Iterator<Item = (i64, &'a Cached)>) -> Result<(), Error> {
    tx.insert_all(
        "insert into account (workspace, seq, at, available, held, debt, hash, level, low_armed, critical_armed, low_mailed_at,
           critical_mailed_at, out_since, restored_at, needed)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         on conflict (workspace) do update set seq = excluded.seq, at = excluded.at, available = excluded.available,
           held = excluded.held, debt = excluded.debt, hash = excluded.hash, level = excluded.level,
           low_armed = excluded.low_armed, critical_armed = excluded.critical_armed, low_mailed_at = excluded.low_mailed_at,
           critical_mailed_at = excluded.critical_mailed_at, out_since = excluded.out_since,
           restored_at = excluded.restored_at, needed = excluded.needed",
        all.map(|(workspace, cached)| {
            let (account, watch) = (&cached.account, &cached.watch);
            [
                workspace.into(),
                account.seq.into(),
                account.at.into(),
                account.available.into(),
                account.held.into(),
                account.debt.into(),
                (&cached.hash).into(),
                (cached.level as i64).into(),
                watch.low_armed.into(),
                watch.critical_armed.into(),
                watch.low_mailed_at.into(),
                watch.critical_mailed_at.into(),
                watch.out_since.into(),
                watch.restored_at.into(),
                watch.needed.into(),
            ]
        }),
    )
}

/// Of holds that have not ended. That they end some day leads SQLite to the index of these alone, past all that have.
pub const OPEN: &str = "ends_at > -9000000000000000000 and status < 3";

const GRANT: &str = "select id, kind, priority, effective_at, expires_at, granted_at, revoked_at, granted, scheduled, available,
    held, consumed, expired, revoked, repaid from \"grant\"";

fn read_grant(row: &Row<'_>) -> Result<Grant, Error> {
    let credits = Amount::new(row.int(7)?).ok_or(Error::NotFound)?;
    Ok(Grant {
        id: Seq(row.int(0)?),
        terms: GrantTerms {
            credits,
            kind: grant_kind(row.int(1)?),
            priority: row.int(2)? as i32,
            effective_at: row.time(3)?,
            expires_at: row.opt_time(4)?,
        },
        granted_at: row.time(5)?,
        revoked_at: row.opt_time(6)?,
        scheduled: row.int(8)?,
        available: row.int(9)?,
        held: row.int(10)?,
        consumed: row.int(11)?,
        expired: row.int(12)?,
        revoked: row.int(13)?,
        repaid: row.int(14)?,
    })
}

/// One grant, spent or not.
pub fn load_grant(tx: &Tx<'_>, workspace: i64, id: Seq) -> Result<Option<Grant>, Error> {
    tx.one(&format!("{GRANT} where workspace = ?1 and id = ?2"), values![workspace, id], read_grant)
}

/// The grants of a workspace that still hold credits, in the order in which they were made.
pub fn live_grants(tx: &Tx<'_>, workspace: i64) -> Result<Vec<Grant>, Error> {
    let live = format!("{GRANT} where workspace = ?1 and (scheduled > 0 or available > 0 or held > 0)");
    tx.query(&live, values![workspace], read_grant)
}

/// Writes grants.
pub fn save_grants<'a>(tx: &Tx<'_>, all: impl Iterator<Item = (i64, &'a Grant)>) -> Result<(), Error> {
    tx.insert_all(
        "insert into \"grant\" (workspace, id, kind, priority, effective_at, expires_at, granted_at, revoked_at, granted,
           scheduled, available, held, consumed, expired, revoked, repaid)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         on conflict (workspace, id) do update set revoked_at = excluded.revoked_at, scheduled = excluded.scheduled,
           available = excluded.available, held = excluded.held, consumed = excluded.consumed, expired = excluded.expired,
           revoked = excluded.revoked, repaid = excluded.repaid",
        all.map(|(workspace, grant)| {
            let terms = &grant.terms;
            [
                workspace.into(),
                grant.id.into(),
                (terms.kind as i64).into(),
                terms.priority.into(),
                terms.effective_at.into(),
                terms.expires_at.into(),
                grant.granted_at.into(),
                grant.revoked_at.into(),
                terms.credits.get().into(),
                grant.scheduled.into(),
                grant.available.into(),
                grant.held.into(),
                grant.consumed.into(),
                grant.expired.into(),
                grant.revoked.into(),
                grant.repaid.into(),
            ]
        }),
    )
}

/// The columns of a hold, for queries that read holds.
pub const HOLD: &str =
    "select id, status, opened_at, operation, quantity, unit_price, version, epoch, parts, ends_at, settled,
    attempted, refunded, release_reason, ended_at, campaign, member, channel, reference, lead from hold";

/// Reads a row of [`HOLD`].
pub fn read_hold(row: &Row<'_>) -> Result<Hold, Error> {
    let price = Price {
        operation: row.text(3)?.into(),
        quantity: row.int(4)?,
        unit_price: row.int(5)?,
        version: row.int(6)?,
    };
    let label = |index| Ok::<_, Error>(Some(row.text(index)?).filter(|text| !text.is_empty()).map(Arc::from));
    let labels = Labels {
        campaign: label(15)?,
        member: label(16)?,
        channel: label(17)?,
        reference: label(18)?,
        lead: label(19)?,
    };
    Ok(Hold {
        id: Seq(row.int(0)?),
        status: hold_status(row.int(1)?),
        opened_at: row.time(2)?,
        price,
        labels: Arc::new(labels),
        epoch: row.int(7)?,
        parts: parts(&row.text(8)?),
        ends_at: row.time(9)?,
        settled: row.int(10)?,
        attempted: row.int(11)?,
        refunded: row.int(12)?,
        release_reason: row.opt_int(13)?.map(release_reason),
        ended_at: row.opt_time(14)?,
    })
}

/// One hold, open or ended.
pub fn load_hold(tx: &Tx<'_>, workspace: i64, id: Seq) -> Result<Option<Hold>, Error> {
    let row =
        tx.one(&format!("{HOLD} where workspace = ?1 and id = ?2"), values![workspace, id], read_hold)?;
    match row {
        Some(hold) => Ok(Some(hold)),
        None => page::hold(tx, workspace, id),
    }
}

/// Writes holds.
pub fn save_holds<'a>(tx: &Tx<'_>, all: impl Iterator<Item = (i64, &'a Hold)>) -> Result<(), Error> {
    tx.insert_all(
        "insert into hold (workspace, id, status, opened_at, operation, quantity, unit_price, version, epoch, parts, ends_at,
           settled, attempted, refunded, release_reason, ended_at, campaign, member, channel, reference, lead)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
         on conflict (workspace, id) do update set status = excluded.status, parts = excluded.parts, ends_at = excluded.ends_at,
           settled = excluded.settled, attempted = excluded.attempted, refunded = excluded.refunded,
           release_reason = excluded.release_reason, ended_at = excluded.ended_at",
        all.map(|(workspace, hold)| hold_row(workspace, hold)),
    )
}

fn hold_row(workspace: i64, hold: &Hold) -> [Value<'_>; 21] {
    let (price, labels) = (&hold.price, &hold.labels);

    let operation: &str = &price.operation;
    [
        workspace.into(),
        hold.id.into(),
        (hold.status as i64).into(),
        hold.opened_at.into(),
        operation.into(),
        price.quantity.into(),
        price.unit_price.into(),
        price.version.into(),
        hold.epoch.into(),
        parts_text(&hold.parts).into(),
        hold.ends_at.into(),
        hold.settled.into(),
        hold.attempted.into(),
        hold.refunded.into(),
        hold.release_reason.map(release_code).into(),
        hold.ended_at.into(),
        text_or_empty(&labels.campaign),
        text_or_empty(&labels.member),
        text_or_empty(&labels.channel),
        text_or_empty(&labels.reference),
        text_or_empty(&labels.lead),
    ]
}

fn text_or_empty(label: &Option<Arc<str>>) -> Value<'_> {
    label.as_deref().unwrap_or("").into()
}
