//! Raw rows as the auditor reads them. The workspace is the first column of each. Entries are in `pages`.

use super::reader::{Read, Row};

pub const GRANTS: &str =
    "select workspace, id, kind, priority, effective_at, expires_at, granted_at, revoked_at, granted, scheduled,
    available, held, consumed, expired, revoked, repaid from \"grant\" where {here} order by workspace, id";
pub const HOLDS: &str =
    "select workspace, id, status, opened_at, operation, quantity, unit_price, version, epoch, parts, ends_at, settled,
    attempted, refunded, release_reason, ended_at, campaign, member, channel, reference, lead
    from hold where {here} order by workspace, id";

/// Kinds of entries as they are stored.
pub mod kind {
    pub const SCHEDULE: i64 = 0;
    pub const GRANT: i64 = 1;
    pub const ADJUST: i64 = 2;
    pub const HOLD: i64 = 3;
    pub const DISPATCH: i64 = 4;
    pub const EXTEND: i64 = 5;
    pub const DOUBT: i64 = 6;
    pub const CHARGE: i64 = 7;
    pub const RELEASE: i64 = 8;
    pub const EXPIRE: i64 = 9;
    pub const REVOKE: i64 = 10;
    pub const REFUND: i64 = 11;
    pub const REPAY: i64 = 12;
}

/// A grant's row but for its id.
#[derive(PartialEq, Eq, Clone)]
pub struct GrantRow {
    pub terms: Terms,
    pub granted_at: i64,
    pub revoked_at: Option<i64>,
    /// Scheduled, available, held, consumed, expired, revoked, repaid.
    pub buckets: [i64; 7],
}

/// What a grant promises.
#[derive(PartialEq, Eq, Clone)]
pub struct Terms {
    pub credits: i64,
    pub kind: i64,
    pub priority: i64,
    pub effective_at: i64,
    pub expires_at: Option<i64>,
}

pub fn read_grant(row: &Row<'_>) -> Read<(i64, GrantRow)> {
    let terms = Terms {
        credits: row.get(8)?,
        kind: row.get(2)?,
        priority: row.get(3)?,
        effective_at: row.get(4)?,
        expires_at: row.get(5)?,
    };
    let mut buckets = [0; 7];
    for (index, credits) in buckets.iter_mut().enumerate() {
        *credits = row.get(index + 9)?;
    }
    Ok((row.get(1)?, GrantRow { terms, granted_at: row.get(6)?, revoked_at: row.get(7)?, buckets }))
}

/// A hold's row but for its id.
#[derive(PartialEq, Eq, Clone, Debug)]
pub struct HoldRow {
    pub status: i64,
    pub opened_at: i64,
    pub operation: String,
    pub quantity: i64,
    pub unit_price: i64,
    pub version: i64,
    pub epoch: i64,
    /// `None`: the stored text cannot be read.
    pub parts: Option<Vec<(i64, i64)>>,
    pub ends_at: i64,
    pub settled: i64,
    pub attempted: i64,
    pub refunded: i64,
    pub release_reason: Option<i64>,
    pub ended_at: Option<i64>,
    /// Campaign, member, channel, reference, lead.
    pub labels: [String; 5],
}

impl HoldRow {
    /// The columns in which two rows differ; never their contents, which may be a customer's.
    pub fn differing(&self, now: &HoldRow) -> String {
        let columns = [
            ("status", self.status == now.status),
            ("opened_at", self.opened_at == now.opened_at),
            ("operation", self.operation == now.operation),
            ("quantity", self.quantity == now.quantity),
            ("unit_price", self.unit_price == now.unit_price),
            ("version", self.version == now.version),
            ("epoch", self.epoch == now.epoch),
            ("parts", self.parts == now.parts),
            ("ends_at", self.ends_at == now.ends_at),
            ("settled", self.settled == now.settled),
            ("attempted", self.attempted == now.attempted),
            ("refunded", self.refunded == now.refunded),
            ("release_reason", self.release_reason == now.release_reason),
            ("ended_at", self.ended_at == now.ended_at),
            ("labels", self.labels == now.labels),
        ];
        let names: Vec<&str> = columns.iter().filter(|column| !column.1).map(|column| column.0).collect();
        names.join(", ")
    }
}

pub fn read_hold(row: &Row<'_>) -> Read<(i64, HoldRow)> {
    let mut labels: [String; 5] = Default::default();
    for (index, label) in labels.iter_mut().enumerate() {
        *label = row.get(index + 16)?;
    }
    let hold = HoldRow {
        status: row.get(2)?,
        opened_at: row.get(3)?,
        operation: row.get(4)?,
        quantity: row.get(5)?,
        unit_price: row.get(6)?,
        version: row.get(7)?,
        epoch: row.get(8)?,
        parts: parts(&row.get::<String>(9)?),
        ends_at: row.get(10)?,
        settled: row.get(11)?,
        attempted: row.get(12)?,
        refunded: row.get(13)?,
        release_reason: row.get(14)?,
        ended_at: row.get(15)?,
        labels,
    };
    Ok((row.get(1)?, hold))
}

/// `7:4 9:2`: 4 credits of grant 7, then 2 of grant 9.
fn parts(text: &str) -> Option<Vec<(i64, i64)>> {
    let part = |word: &str| {
        let (grant, credits) = word.split_once(':')?;
        Some((whole(grant)?, whole(credits)?))
    };
    words(text).map(part).collect()
}

/// One move of credits of a grant, from a bucket to a bucket, each named by its letter.
#[derive(Clone, Copy)]
pub struct Posting {
    pub grant: i64,
    pub from: char,
    pub to: char,
    pub credits: i64,
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(move |_| !text.is_empty())
}

/// A number above zero, written without sign or leading zero.
fn whole(text: &str) -> Option<i64> {
    let plain = text.starts_with(|digit: char| ('1'..='9').contains(&digit));
    plain.then(|| text.parse().ok()).flatten()
}
