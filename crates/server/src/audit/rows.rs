//! Raw rows as the auditor reads them, and the documented encoding of an entry. The workspace is the first column of each.

use sha2::{Digest, Sha256};

use super::reader::{Read, Row};

pub const ENTRIES: &str =
    "select workspace, seq, at, kind, amount, available, balance, debt, postings, grant_id, hold_id, operation,
    quantity, unit_price, version, attempted, until, terms, release_reason, epoch, actor, note, hash
    from entry where {here} order by workspace, seq";
pub const NOTES: &str = "select workspace, seq, salt, campaign, member, channel, reference, lead, reason
    from note where {here} order by workspace, seq";
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

/// One entry, column by column.
pub struct EntryRow {
    pub seq: i64,
    pub at: i64,
    pub kind: i64,
    pub amount: i64,
    pub available: i64,
    pub balance: i64,
    pub debt: i64,
    pub postings: String,
    pub grant: Option<i64>,
    pub hold: Option<i64>,
    pub operation: Option<String>,
    pub quantity: Option<i64>,
    pub unit_price: Option<i64>,
    pub version: Option<i64>,
    pub attempted: i64,
    pub until: Option<i64>,
    pub terms: Option<String>,
    pub release_reason: Option<i64>,
    pub epoch: i64,
    pub actor: String,
    pub note: Option<Vec<u8>>,
    pub hash: Vec<u8>,
}

impl EntryRow {
    pub fn read(row: &Row<'_>) -> Read<(i64, EntryRow)> {
        let seq = row.get(1)?;
        let entry = EntryRow {
            seq,
            at: row.get(2)?,
            kind: row.get(3)?,
            amount: row.get(4)?,
            available: row.get(5)?,
            balance: row.get(6)?,
            debt: row.get(7)?,
            postings: row.get(8)?,
            grant: row.get(9)?,
            hold: row.get(10)?,
            operation: row.get(11)?,
            quantity: row.get(12)?,
            unit_price: row.get(13)?,
            version: row.get(14)?,
            attempted: row.get(15)?,
            until: row.get(16)?,
            terms: row.get(17)?,
            release_reason: row.get(18)?,
            epoch: row.get(19)?,
            actor: row.get(20)?,
            note: row.get(21)?,
            hash: row.get(22)?,
        };
        Ok((seq, entry))
    }

    /// SHA-256 over the hash before and the entry's canonical bytes, version 1.
    pub fn hash_after(&self, before: &[u8]) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(1);
        for int in [self.seq, self.at, self.kind, self.amount, self.available, self.balance, self.debt] {
            bytes.extend_from_slice(&int.to_be_bytes());
        }
        text(&mut bytes, &self.postings);
        optional(&mut bytes, self.grant);
        optional(&mut bytes, self.hold);
        text(&mut bytes, self.operation.as_deref().unwrap_or(""));
        optional(&mut bytes, self.quantity);
        optional(&mut bytes, self.unit_price);
        optional(&mut bytes, self.version);
        bytes.extend_from_slice(&self.attempted.to_be_bytes());
        optional(&mut bytes, self.until);
        text(&mut bytes, self.terms.as_deref().unwrap_or(""));
        optional(&mut bytes, self.release_reason);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        text(&mut bytes, &self.actor);
        match &self.note {
            None => bytes.push(0),
            Some(digest) => {
                bytes.push(1);
                bytes.extend_from_slice(digest);
            }
        }
        let mut hash = Sha256::new();
        hash.update(before);
        hash.update(&bytes);
        hash.finalize().into()
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn optional(bytes: &mut Vec<u8>, int: Option<i64>) {
    match int {
        None => bytes.push(0),
        Some(int) => {
            bytes.push(1);
            bytes.extend_from_slice(&int.to_be_bytes());
        }
    }
}

/// The free text of an entry: campaign, member, channel, reference, lead and reason.
pub struct NoteRow {
    salt: Vec<u8>,
    texts: [String; 6],
}

impl NoteRow {
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = self.salt.clone();
        for one in &self.texts {
            text(&mut bytes, one);
        }
        Sha256::digest(&bytes).into()
    }

    /// Campaign, member, channel, reference and lead; the empty text where there is none.
    pub fn labels(note: Option<&NoteRow>) -> [String; 5] {
        std::array::from_fn(|index| note.map_or_else(String::new, |note| note.texts[index].clone()))
    }
}

pub fn read_note(row: &Row<'_>) -> Read<(i64, NoteRow)> {
    let mut texts: [String; 6] = Default::default();
    for (index, text) in texts.iter_mut().enumerate() {
        *text = row.get(index + 3)?;
    }
    Ok((row.get(1)?, NoteRow { salt: row.get(2)?, texts }))
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

/// One move of credits: `12ah6` is 6 credits of grant 12 from available to held.
#[derive(Clone, Copy)]
pub struct Posting {
    pub grant: i64,
    pub from: char,
    pub to: char,
    pub credits: i64,
}

/// `None` when the text is not exactly what a writer of postings would have written.
pub fn postings(text: &str) -> Option<Vec<Posting>> {
    let posting = |word: &str| {
        let letters = word.find(|digit: char| !digit.is_ascii_digit())?;
        let (grant, rest) = word.split_at(letters);
        let mut rest = rest.chars();
        let (from, to) = (rest.next()?, rest.next()?);
        Some(Posting { grant: whole(grant)?, from, to, credits: whole(rest.as_str())? })
    };
    words(text).map(posting).collect()
}

/// A grant's terms in an entry: credits, kind, priority, effective time; the expiry is a column of its own.
pub fn terms(text: &str, expires_at: Option<i64>) -> Option<Terms> {
    let mut words = text.split(' ').map(|word| word.parse::<i64>().ok());
    let (credits, kind, priority, effective_at) =
        (words.next()??, words.next()??, words.next()??, words.next()??);
    words.next().is_none().then_some(Terms { credits, kind, priority, effective_at, expires_at })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(move |_| !text.is_empty())
}

/// A number above zero, written without sign or leading zero.
fn whole(text: &str) -> Option<i64> {
    let plain = text.starts_with(|digit: char| ('1'..='9').contains(&digit));
    plain.then(|| text.parse().ok()).flatten()
}
