//! The ledger's rows: accounts, grants, holds, entries with their hash chain, keys and usage totals.
//!
//! Owns how the rules' values are written and read. It does *not* decide.
//!
//! Invariant: everything but `entry`, `note` and `request` can be rebuilt from `entry` and `note`.
//!
//! | step of a charge | statements |
//! |---|---|
//! | look the key up | 1 select |
//! | load the account, once while it is cached | 3 selects |
//! | write an entry | 1 insert into `entry`, 1 into `note` where there are labels or a reason |
//! | write the hold, the grants it took from, the account, the usage slot | 1 upsert each, once per batch |

use std::collections::HashMap;
use std::sync::Arc;

use billing::account::{Bucket, Grant, Posting};
use billing::alerts::{Level, Threshold, Thresholds, Watch};
use billing::ledger::GrantTerms;
use billing::units::{DAY, SECOND};
use billing::{
    Account, Amount, Entry, EntryKind, GrantKind, Hold, HoldStatus, Labels, Price, ReleaseReason, Seq, Time,
};
use sha2::{Digest, Sha256};

use super::Error;
use super::committer::{Key, KeyKind};
use super::db::{Row, Tx};
use crate::clock;
use crate::values;

/// How long a spent grant stays in the account: percentages are of what was granted in this time.
pub const RECENT: i64 = 30 * DAY;
/// Usage is totalled in slots of a quarter of an hour, the finest step of any time zone's offset.
pub const SLOT: i64 = 900 * SECOND;

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
    /// Hash of the last entry.
    pub hash: [u8; 32],
    /// How it stands.
    pub level: Level,
}

impl Cached {
    /// What percentages are of: the plan's grant, or what was granted in the last 30 days.
    pub fn basis(&self, now: Time) -> i64 {
        let recent = |grant: &&Grant| grant.granted_at.0 >= now.0 - RECENT && grant.scheduled == 0;
        let granted =
            || self.account.grants.values().filter(recent).map(|grant| grant.terms.credits.get()).sum();
        self.plan_credits.unwrap_or_else(granted)
    }
}

/// An entry with what the store adds to it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The entry.
    pub entry: Entry,
    /// Who asked.
    pub actor: Arc<str>,
    /// Labels and reason.
    pub note: Option<Note>,
    /// SHA-256 over the hash before and this entry.
    pub hash: [u8; 32],
}

/// The free text of an entry. It lives in a table of its own from which it can be erased: the chain covers a salted digest.
#[derive(Clone, Debug)]
pub struct Note {
    salt: [u8; 16],
    labels: Arc<Labels>,
    /// Why, in a person's words.
    pub reason: Option<Arc<str>>,
}

impl Note {
    /// `None` when there is no free text.
    pub fn new(labels: &Arc<Labels>, reason: Option<Arc<str>>) -> Option<Note> {
        (reason.is_some() || **labels != Labels::default()).then(|| Note {
            salt: clock::random(),
            labels: labels.clone(),
            reason,
        })
    }

    fn texts(&self) -> [&str; 6] {
        let labels = &self.labels;
        [&labels.campaign, &labels.member, &labels.channel, &labels.reference, &labels.lead, &self.reason]
            .map(|text| text.as_deref().unwrap_or(""))
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.salt);
        for text in self.texts() {
            hash.update((text.len() as u32).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

impl Recorded {
    /// Chains an entry to the one before it.
    pub fn new(entry: Entry, actor: Arc<str>, note: Option<Note>, before: &[u8; 32]) -> Recorded {
        let digest = note.as_ref().map(Note::digest);
        let mut hash = Sha256::new_with_prefix(before);
        hash.update(encode(&entry, &actor, digest.as_ref()));
        Recorded { entry, actor, note, hash: hash.finalize().into() }
    }
}

/// The canonical bytes of an entry, version 1: every field in this order, integers as 8 bytes big-endian, an absent value as
/// one zero byte, a present one after a one, text and bytes after their length in 4 bytes.
fn encode(entry: &Entry, actor: &str, note: Option<&[u8; 32]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(1);
    let price = entry.price.as_ref();
    let ints = [
        entry.seq.0,
        entry.at.0,
        kind_code(entry.kind),
        entry.amount,
        entry.available,
        entry.balance,
        entry.debt,
    ];
    for int in ints {
        bytes.extend(int.to_be_bytes());
    }
    put_text(&mut bytes, &postings_text(&entry.postings));
    put_int(&mut bytes, entry.grant.map(|seq| seq.0));
    put_int(&mut bytes, entry.hold.map(|seq| seq.0));
    put_text(&mut bytes, price.map_or("", |price| &price.operation));
    put_int(&mut bytes, price.map(|price| price.quantity));
    put_int(&mut bytes, price.map(|price| price.unit_price));
    put_int(&mut bytes, price.map(|price| price.version));
    bytes.extend(entry.attempted.to_be_bytes());
    put_int(&mut bytes, entry.until.map(|time| time.0));
    put_text(&mut bytes, &entry.terms.as_ref().map(terms_text).unwrap_or_default());
    put_int(&mut bytes, entry.release_reason.map(release_code));
    bytes.extend(entry.epoch.to_be_bytes());
    put_text(&mut bytes, actor);
    bytes.push(u8::from(note.is_some()));
    bytes.extend(note.into_iter().flatten());
    bytes
}

fn put_int(bytes: &mut Vec<u8>, int: Option<i64>) {
    bytes.push(u8::from(int.is_some()));
    bytes.extend(int.into_iter().flat_map(i64::to_be_bytes));
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// Loads an account, or `None` for an unknown workspace.
pub fn load(tx: &Tx<'_>, workspace: i64, now: Time) -> Result<Option<Cached>, Error> {
    let Some((mut cached, seq, at, debt)) = load_row(tx, workspace)? else { return Ok(None) };
    let account = &mut cached.account;
    (account.seq, account.at, account.debt) = (seq, at, debt);
    let live = format!(
        "{GRANT} where workspace = ?1 and (scheduled > 0 or available > 0 or held > 0 or granted_at >= ?2)"
    );
    for grant in tx.query(&live, values![workspace, now.0 - RECENT], read_grant)? {
        account.load_grant(grant);
    }
    for hold in
        tx.query(&format!("{HOLD} where workspace = ?1 and status < 3"), values![workspace], read_hold)?
    {
        account.load_hold(hold);
    }
    Ok(Some(cached))
}

fn load_row(tx: &Tx<'_>, workspace: i64) -> Result<Option<(Cached, Seq, Time, i64)>, Error> {
    tx.one(
        "select a.seq, a.at, a.debt, a.hash, a.level, a.low_armed, a.critical_armed, a.low_mailed_at, a.critical_mailed_at,
           a.out_since, a.restored_at, a.needed, w.low, w.critical, w.plan_credits
         from account a join workspace w on w.id = a.workspace where a.workspace = ?1",
        values![workspace],
        |row| {
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
            let cached = Cached {
                account: Account::default(),
                watch,
                thresholds: Thresholds { low, critical },
                plan_credits: row.opt_int(14)?,
                hash: row.blob(3)?.try_into().unwrap_or([0; 32]),
                level: level(row.int(4)?),
            };
            Ok((cached, Seq(row.int(0)?), row.time(1)?, row.int(2)?))
        },
    )
}

/// Writes an account's totals and alerts.
pub fn save_account(tx: &Tx<'_>, workspace: i64, cached: &Cached) -> Result<(), Error> {
    let (account, watch) = (&cached.account, &cached.watch);
    tx.execute(
        "update account set seq = ?2, at = ?3, available = ?4, held = ?5, debt = ?6, hash = ?7, level = ?8, low_armed = ?9,
           critical_armed = ?10, low_mailed_at = ?11, critical_mailed_at = ?12, out_since = ?13, restored_at = ?14, needed = ?15
         where workspace = ?1",
        values![
            workspace,
            account.seq,
            account.at,
            account.available,
            account.held,
            account.debt,
            &cached.hash,
            cached.level as i64,
            watch.low_armed,
            watch.critical_armed,
            watch.low_mailed_at,
            watch.critical_mailed_at,
            watch.out_since,
            watch.restored_at,
            watch.needed,
        ],
    )?;
    Ok(())
}

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

/// Writes a grant.
pub fn save_grant(tx: &Tx<'_>, workspace: i64, grant: &Grant) -> Result<(), Error> {
    let terms = &grant.terms;
    tx.execute(
        "insert into \"grant\" (workspace, id, kind, priority, effective_at, expires_at, granted_at, revoked_at, granted,
           scheduled, available, held, consumed, expired, revoked, repaid)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         on conflict (workspace, id) do update set revoked_at = excluded.revoked_at, scheduled = excluded.scheduled,
           available = excluded.available, held = excluded.held, consumed = excluded.consumed, expired = excluded.expired,
           revoked = excluded.revoked, repaid = excluded.repaid",
        values![
            workspace,
            grant.id,
            terms.kind as i64,
            terms.priority,
            terms.effective_at,
            terms.expires_at,
            grant.granted_at,
            grant.revoked_at,
            terms.credits.get(),
            grant.scheduled,
            grant.available,
            grant.held,
            grant.consumed,
            grant.expired,
            grant.revoked,
            grant.repaid,
        ],
    )?;
    Ok(())
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
    tx.one(&format!("{HOLD} where workspace = ?1 and id = ?2"), values![workspace, id], read_hold)
}

/// Writes a hold.
pub fn save_hold(tx: &Tx<'_>, workspace: i64, hold: &Hold) -> Result<(), Error> {
    let (price, labels) = (&hold.price, &hold.labels);
    tx.execute(
        "insert into hold (workspace, id, status, opened_at, operation, quantity, unit_price, version, epoch, parts, ends_at,
           settled, attempted, refunded, release_reason, ended_at, campaign, member, channel, reference, lead)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
         on conflict (workspace, id) do update set status = excluded.status, parts = excluded.parts, ends_at = excluded.ends_at,
           settled = excluded.settled, attempted = excluded.attempted, refunded = excluded.refunded,
           release_reason = excluded.release_reason, ended_at = excluded.ended_at",
        values![
            workspace,
            hold.id,
            hold.status as i64,
            hold.opened_at,
            &*price.operation,
            price.quantity,
            price.unit_price,
            price.version,
            hold.epoch,
            &parts_text(&hold.parts),
            hold.ends_at,
            hold.settled,
            hold.attempted,
            hold.refunded,
            hold.release_reason.map(release_code),
            hold.ended_at,
            labels.campaign.as_deref().unwrap_or(""),
            labels.member.as_deref().unwrap_or(""),
            labels.channel.as_deref().unwrap_or(""),
            labels.reference.as_deref().unwrap_or(""),
            labels.lead.as_deref().unwrap_or(""),
        ],
    )?;
    Ok(())
}

/// Appends an entry.
pub fn insert_entry(tx: &Tx<'_>, workspace: i64, recorded: &Recorded) -> Result<(), Error> {
    let (entry, note) = (&recorded.entry, &recorded.note);
    let price = entry.price.as_ref();
    let digest = note.as_ref().map(Note::digest);
    tx.execute(
        "insert into entry (workspace, seq, at, kind, amount, available, balance, debt, postings, grant_id, hold_id, operation,
           quantity, unit_price, version, attempted, until, terms, release_reason, epoch, actor, note, hash)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
        values![
            workspace,
            entry.seq,
            entry.at,
            kind_code(entry.kind),
            entry.amount,
            entry.available,
            entry.balance,
            entry.debt,
            &postings_text(&entry.postings),
            entry.grant,
            entry.hold,
            price.map(|price| &*price.operation),
            price.map(|price| price.quantity),
            price.map(|price| price.unit_price),
            price.map(|price| price.version),
            entry.attempted,
            entry.until,
            entry.terms.as_ref().map(terms_text).as_ref(),
            entry.release_reason.map(release_code),
            entry.epoch,
            &*recorded.actor,
            digest.as_ref(),
            &recorded.hash,
        ],
    )?;
    let Some(note) = note else { return Ok(()) };
    let [campaign, member, channel, reference, lead, reason] = note.texts();
    tx.execute(
        "insert into note (workspace, seq, salt, campaign, member, channel, reference, lead, reason)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        values![workspace, entry.seq, &note.salt, campaign, member, channel, reference, lead, reason],
    )?;
    Ok(())
}

/// The columns of an entry with its note, for queries that read entries.
pub const ENTRY: &str = "select e.seq, e.at, e.kind, e.amount, e.available, e.balance, e.debt, e.postings, e.grant_id, e.hold_id,
    e.operation, e.quantity, e.unit_price, e.version, e.attempted, e.until, e.terms, e.release_reason, e.epoch, e.actor, e.hash,
    n.salt, n.campaign, n.member, n.channel, n.reference, n.lead, n.reason
    from entry e left join note n on n.workspace = e.workspace and n.seq = e.seq";

/// Reads a row of [`ENTRY`].
pub fn read_entry(row: &Row<'_>) -> Result<Recorded, Error> {
    let label =
        |index| Ok::<_, Error>(row.opt_text(index)?.filter(|text| !text.is_empty()).map(Arc::<str>::from));
    let labels = Labels {
        campaign: label(22)?,
        member: label(23)?,
        channel: label(24)?,
        reference: label(25)?,
        lead: label(26)?,
    };
    let labels = Arc::new(labels);
    let salt = row.opt_blob(21)?.and_then(|salt| salt.try_into().ok());
    let note = match salt {
        Some(salt) => Some(Note { salt, labels: labels.clone(), reason: label(27)? }),
        None => None,
    };
    let price = row.opt_text(10)?.map(|operation| {
        let (quantity, unit_price) = (row.opt_int(11)?.unwrap_or(0), row.opt_int(12)?.unwrap_or(0));
        Ok::<_, Error>(Price {
            operation: operation.into(),
            quantity,
            unit_price,
            version: row.opt_int(13)?.unwrap_or(0),
        })
    });
    let until = row.opt_time(15)?;
    let entry = Entry {
        seq: Seq(row.int(0)?),
        at: row.time(1)?,
        kind: entry_kind(row.int(2)?),
        amount: row.int(3)?,
        available: row.int(4)?,
        balance: row.int(5)?,
        debt: row.int(6)?,
        postings: postings(&row.text(7)?),
        grant: row.opt_int(8)?.map(Seq),
        hold: row.opt_int(9)?.map(Seq),
        price: price.transpose()?,
        attempted: row.int(14)?,
        until,
        terms: row.opt_text(16)?.and_then(|text| terms(&text, until)),
        release_reason: row.opt_int(17)?.map(release_reason),
        epoch: row.int(18)?,
        labels,
    };
    let hash = row.blob(20)?.try_into().unwrap_or([0; 32]);
    Ok(Recorded { entry, actor: row.text(19)?.into(), note, hash })
}

/// One entry.
pub fn load_entry(tx: &Tx<'_>, workspace: i64, seq: Seq) -> Result<Option<Recorded>, Error> {
    tx.one(&format!("{ENTRY} where e.workspace = ?1 and e.seq = ?2"), values![workspace, seq], read_entry)
}

/// What a key was used for before.
pub fn find_key(tx: &Tx<'_>, workspace: i64, key: &Key) -> Result<Option<([u8; 16], Seq)>, Error> {
    tx.one(
        "select fingerprint, seq from request where workspace = ?1 and kind = ?2 and key = ?3",
        values![workspace, key.kind as i64, &*key.key],
        |row| Ok((row.blob(0)?.try_into().unwrap_or([0; 16]), Seq(row.int(1)?))),
    )
}

/// Remembers a key for good.
pub fn insert_key(
    tx: &Tx<'_>,
    workspace: i64,
    kind: KeyKind,
    key: &str,
    fingerprint: &[u8; 16],
    seq: Seq,
) -> Result<(), Error> {
    tx.execute(
        "insert into request (workspace, kind, key, fingerprint, seq) values (?1, ?2, ?3, ?4, ?5)",
        values![workspace, kind as i64, key, fingerprint, seq],
    )?;
    Ok(())
}

/// Where a charge is counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UsageKey {
    workspace: i64,
    slot: i64,
    operation: Arc<str>,
    labels: [Option<Arc<str>>; 3],
}

/// What is counted there.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    quantity: i64,
    credits: i64,
    not_charged: i64,
    refunded: i64,
    refunded_credits: i64,
}

/// Adds an entry to the totals of its slot.
pub fn fold_usage(totals: &mut HashMap<UsageKey, Usage>, workspace: i64, entry: &Entry) {
    let Some(price) = &entry.price else { return };
    let add = match entry.kind {
        EntryKind::Charge => Usage {
            quantity: price.quantity,
            credits: -entry.amount,
            not_charged: entry.attempted - price.quantity,
            ..Usage::default()
        },
        EntryKind::Release if entry.attempted > 0 => {
            Usage { not_charged: entry.attempted, ..Usage::default() }
        }
        EntryKind::Refund => {
            Usage { refunded: price.quantity, refunded_credits: entry.amount, ..Usage::default() }
        }
        _ => return,
    };
    let labels = &entry.labels;
    let labels = [labels.campaign.clone(), labels.member.clone(), labels.channel.clone()];
    let slot = entry.at.0.div_euclid(SLOT) * SLOT;
    let key = UsageKey { workspace, slot, operation: price.operation.clone(), labels };
    let total = totals.entry(key).or_default();
    total.quantity += add.quantity;
    total.credits += add.credits;
    total.not_charged += add.not_charged;
    total.refunded += add.refunded;
    total.refunded_credits += add.refunded_credits;
}

/// Adds to the stored totals.
pub fn add_usage(tx: &Tx<'_>, key: &UsageKey, usage: &Usage) -> Result<(), Error> {
    let [campaign, member, channel] = &key.labels;
    tx.execute(
        "insert into usage (workspace, slot, operation, campaign, member, channel, quantity, credits, not_charged, refunded,
           refunded_credits) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         on conflict (workspace, slot, operation, campaign, member, channel) do update set
           quantity = usage.quantity + excluded.quantity, credits = usage.credits + excluded.credits,
           not_charged = usage.not_charged + excluded.not_charged, refunded = usage.refunded + excluded.refunded,
           refunded_credits = usage.refunded_credits + excluded.refunded_credits",
        values![
            key.workspace,
            key.slot,
            &*key.operation,
            campaign.as_deref().unwrap_or(""),
            member.as_deref().unwrap_or(""),
            channel.as_deref().unwrap_or(""),
            usage.quantity,
            usage.credits,
            usage.not_charged,
            usage.refunded,
            usage.refunded_credits,
        ],
    )?;
    Ok(())
}

/// A threshold as it is stored: `20%` or `500`.
pub fn threshold(text: &str) -> Threshold {
    match text.strip_suffix('%') {
        Some(percent) => Threshold::Percent(percent.parse().unwrap_or(0)),
        None => Threshold::Credits(text.parse().unwrap_or(0)),
    }
}

/// The stored form of a threshold.
pub fn threshold_text(threshold: Threshold) -> String {
    match threshold {
        Threshold::Percent(percent) => format!("{percent}%"),
        Threshold::Credits(credits) => credits.to_string(),
    }
}

/// The level behind a stored number.
pub fn level(code: i64) -> Level {
    [Level::Healthy, Level::Low, Level::Critical, Level::Out][code.clamp(0, 3) as usize]
}

const BUCKETS: [(Bucket, char); 8] = [
    (Bucket::Issued, 'i'),
    (Bucket::Scheduled, 's'),
    (Bucket::Available, 'a'),
    (Bucket::Held, 'h'),
    (Bucket::Consumed, 'c'),
    (Bucket::Expired, 'x'),
    (Bucket::Revoked, 'r'),
    (Bucket::Repaid, 'd'),
];

/// Postings as text, one word each: `12ah6` moves 6 credits of grant 12 from available to held.
fn postings_text(postings: &[Posting]) -> String {
    let letter = |bucket| BUCKETS.iter().find(|known| known.0 == bucket).map_or('?', |known| known.1);
    let words: Vec<String> = postings
        .iter()
        .map(|p| format!("{}{}{}{}", p.grant, letter(p.from), letter(p.to), p.credits))
        .collect();
    words.join(" ")
}

fn postings(text: &str) -> Vec<Posting> {
    text.split_whitespace().filter_map(posting).collect()
}

fn posting(word: &str) -> Option<Posting> {
    let bucket = |letter| BUCKETS.iter().find(|known| known.1 == letter).map(|known| known.0);
    let at = word.find(|c: char| c.is_ascii_alphabetic())?;
    let (grant, rest) = word.split_at(at);
    let mut letters = rest.chars();
    let (from, to) = (bucket(letters.next()?)?, bucket(letters.next()?)?);
    Some(Posting { grant: Seq(grant.parse().ok()?), from, to, credits: letters.as_str().parse().ok()? })
}

fn parts_text(parts: &[(Seq, i64)]) -> String {
    let words: Vec<String> = parts.iter().map(|(grant, credits)| format!("{grant}:{credits}")).collect();
    words.join(" ")
}

fn parts(text: &str) -> Vec<(Seq, i64)> {
    let part =
        |word: &str| word.split_once(':').and_then(|(g, c)| Some((Seq(g.parse().ok()?), c.parse().ok()?)));
    text.split_whitespace().filter_map(part).collect()
}

fn terms_text(terms: &GrantTerms) -> String {
    format!("{} {} {} {}", terms.credits.get(), terms.kind as i64, terms.priority, terms.effective_at.0)
}

fn terms(text: &str, expires_at: Option<Time>) -> Option<GrantTerms> {
    let numbers: Vec<i64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [credits, kind, priority, effective_at] = numbers[..] else { return None };
    let (credits, kind, effective_at) = (Amount::new(credits)?, grant_kind(kind), Time(effective_at));
    Some(GrantTerms { credits, kind, priority: priority as i32, effective_at, expires_at })
}

const GRANT_KINDS: [GrantKind; 6] = [
    GrantKind::Promo,
    GrantKind::Goodwill,
    GrantKind::Trial,
    GrantKind::Bonus,
    GrantKind::Plan,
    GrantKind::Purchased,
];

fn grant_kind(code: i64) -> GrantKind {
    GRANT_KINDS[code.clamp(0, 5) as usize]
}

const HOLD_STATUSES: [HoldStatus; 5] = [
    HoldStatus::Open,
    HoldStatus::Dispatched,
    HoldStatus::InDoubt,
    HoldStatus::Settled,
    HoldStatus::Released,
];

fn hold_status(code: i64) -> HoldStatus {
    HOLD_STATUSES[code.clamp(0, 4) as usize]
}

fn release_code(reason: ReleaseReason) -> i64 {
    reason as i64
}

fn release_reason(code: i64) -> ReleaseReason {
    [ReleaseReason::Caller, ReleaseReason::Expired, ReleaseReason::Deadline][code.clamp(0, 2) as usize]
}

const ENTRY_KINDS: [EntryKind; 13] = [
    EntryKind::Schedule,
    EntryKind::Grant,
    EntryKind::Adjust,
    EntryKind::Hold,
    EntryKind::Dispatch,
    EntryKind::Extend,
    EntryKind::Doubt,
    EntryKind::Charge,
    EntryKind::Release,
    EntryKind::Expire,
    EntryKind::Revoke,
    EntryKind::Refund,
    EntryKind::Repay,
];

/// The stored number of an entry's kind.
pub fn kind_code(kind: EntryKind) -> i64 {
    kind as i64
}

fn entry_kind(code: i64) -> EntryKind {
    ENTRY_KINDS[code.clamp(0, 12) as usize]
}
