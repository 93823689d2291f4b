//! The canonical bytes of an entry, version 1: what the hash chain covers, and what journal and pages keep.
//!
//! Version, kind, and two bytes of flags that say what follows beyond the fixed numbers; then every field in one order. An integer is
//! written zigzag, seven bits a byte, the lowest first; text and other bytes after their length. The hold is the distance back
//! to its entry, and times are the distance to the entry's.
//!
//! Invariant: `decode` gives back what `encode` was given. These bytes are in databases: a new form is a new version.

use std::sync::Arc;

use billing::account::{Posting, Postings};
use billing::ledger::GrantTerms;
use billing::{Amount, Entry, Labels, Price, Seq, Time};

use super::codec::{bucket_code, bucket_of, entry_kind, grant_kind, kind_code, release_code, release_reason};

const VERSION: u8 = 1;
/// What an entry may have, each a bit of its flags.
mod has {
    pub const GRANT: u16 = 1;
    pub const HOLD: u16 = 1 << 1;
    pub const PRICE: u16 = 1 << 2;
    pub const UNTIL: u16 = 1 << 3;
    pub const TERMS: u16 = 1 << 4;
    pub const RELEASE: u16 = 1 << 5;
    pub const NOTE: u16 = 1 << 6;
    pub const EPOCH: u16 = 1 << 7;
    pub const ATTEMPTED: u16 = 1 << 8;
    pub const DEBT: u16 = 1 << 9;
}

/// Writes an entry, who asked, and the digest of its note.
pub fn encode(bytes: &mut Vec<u8>, entry: &Entry, actor: &str, note: Option<&[u8; 32]>) {
    let flag = |present: bool, bit: u16| if present { bit } else { 0 };
    let flags = flag(entry.grant.is_some(), has::GRANT)
        | flag(entry.hold.is_some(), has::HOLD)
        | flag(entry.price.is_some(), has::PRICE)
        | flag(entry.until.is_some(), has::UNTIL)
        | flag(entry.terms.is_some(), has::TERMS)
        | flag(entry.release_reason.is_some(), has::RELEASE)
        | flag(note.is_some(), has::NOTE)
        | flag(entry.epoch != 0, has::EPOCH)
        | flag(entry.attempted != 0, has::ATTEMPTED)
        | flag(entry.debt != 0, has::DEBT);
    bytes.extend([VERSION, kind_code(entry.kind) as u8]);
    bytes.extend(flags.to_be_bytes());
    let fixed = [entry.seq.0, entry.at.0, entry.amount, entry.available, entry.balance];
    fixed.into_iter().for_each(|int| put_int(bytes, int));
    put_int(bytes, entry.postings.len() as i64);
    for posting in &entry.postings {
        put_int(bytes, posting.grant.0);
        bytes.push(bucket_code(posting.from) << 4 | bucket_code(posting.to));
        put_int(bytes, posting.credits);
    }
    entry.grant.into_iter().for_each(|grant| put_int(bytes, grant.0));
    entry.hold.into_iter().for_each(|hold| put_int(bytes, entry.seq.0.wrapping_sub(hold.0)));
    if let Some(price) = &entry.price {
        put_text(bytes, &price.operation);
        [price.quantity, price.unit_price, price.version].into_iter().for_each(|int| put_int(bytes, int));
    }
    entry.until.into_iter().for_each(|until| put_int(bytes, until.0.wrapping_sub(entry.at.0)));
    if let Some(terms) = &entry.terms {
        let effective = terms.effective_at.0.wrapping_sub(entry.at.0);
        let terms = [terms.credits.get(), terms.kind as i64, terms.priority.into(), effective];
        terms.into_iter().for_each(|int| put_int(bytes, int));
    }
    entry.release_reason.into_iter().for_each(|reason| put_int(bytes, release_code(reason)));
    let odd = [(entry.epoch, has::EPOCH), (entry.attempted, has::ATTEMPTED), (entry.debt, has::DEBT)];
    odd.into_iter().filter(|odd| flags & odd.1 != 0).for_each(|odd| put_int(bytes, odd.0));
    put_text(bytes, actor);
    bytes.extend(note.into_iter().flatten());
}

/// Writes an integer.
pub fn put_int(bytes: &mut Vec<u8>, int: i64) {
    let mut rest = (int << 1 ^ int >> 63) as u64;
    if rest <= 0x7f {
        return bytes.push(rest as u8);
    }
    let (mut written, mut count) = ([0; 10], 0);
    while rest > 0x7f {
        written[count] = rest as u8 | 0x80;
        (rest, count) = (rest >> 7, count + 1);
    }
    written[count] = rest as u8;
    // All ten are copied, because a copy of a known length is a few instructions and no call.
    let length = bytes.len() + count + 1;
    bytes.extend_from_slice(&written);
    bytes.truncate(length);
}

/// Writes bytes after their length.
pub fn put_blob(bytes: &mut Vec<u8>, blob: &[u8]) {
    put_int(bytes, blob.len() as i64);
    bytes.extend_from_slice(blob);
}

/// Writes a text.
pub fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_blob(bytes, text.as_bytes());
}

/// The number of the entry that these bytes are of.
pub fn seq(bytes: &[u8]) -> Option<Seq> {
    let mut bytes = Bytes(bytes);
    bytes.array::<4>()?;
    bytes.int().map(Seq)
}

/// The hold that the entry is about that these bytes are of, found without reading the rest. `None`: not such bytes.
pub fn hold(bytes: &[u8]) -> Option<Option<Seq>> {
    let mut bytes = Bytes(bytes);
    let [_, _, flags @ ..] = bytes.array::<4>()?;
    let flags = u16::from_be_bytes(flags);
    let (seq, [_at, _amount, _available, _balance]) =
        (bytes.int()?, [bytes.int()?, bytes.int()?, bytes.int()?, bytes.int()?]);
    for _ in 0..bytes.int()? {
        posting(&mut bytes)?;
    }
    bytes.int_of(flags & has::GRANT)?;
    Some(bytes.int_of(flags & has::HOLD)?.map(|back| Seq(seq.wrapping_sub(back))))
}

/// Reads an entry, who asked, and the digest of its note; labels are free text and stand elsewhere. `None`: not such bytes.
pub fn decode(bytes: &[u8], labels: Arc<Labels>) -> Option<(Entry, Arc<str>, Option<[u8; 32]>)> {
    let mut bytes = Bytes(bytes);
    let [version, kind, flags @ ..] = bytes.array::<4>()?;
    let flags = u16::from_be_bytes(flags);
    (version == VERSION).then_some(())?;
    let (seq, at) = (bytes.int()?, bytes.int()?);
    let (amount, available, balance) = (bytes.int()?, bytes.int()?, bytes.int()?);
    let count = usize::try_from(bytes.int()?).ok().filter(|count| *count <= bytes.0.len())?;
    let postings = (0..count).map(|_| posting(&mut bytes)).collect::<Option<Postings>>()?;
    let grant = bytes.int_of(flags & has::GRANT)?.map(Seq);
    let hold = bytes.int_of(flags & has::HOLD)?.map(|back| Seq(seq.wrapping_sub(back)));
    let price = if flags & has::PRICE != 0 { Some(price(&mut bytes)?) } else { None };
    let until = bytes.int_of(flags & has::UNTIL)?.map(|after| Time(at.wrapping_add(after)));
    let terms = if flags & has::TERMS != 0 { Some(terms(&mut bytes, at, until)?) } else { None };
    let release_reason = bytes.int_of(flags & has::RELEASE)?.map(release_reason);
    let epoch = bytes.int_of(flags & has::EPOCH)?.unwrap_or(0);
    let attempted = bytes.int_of(flags & has::ATTEMPTED)?.unwrap_or(0);
    let debt = bytes.int_of(flags & has::DEBT)?.unwrap_or(0);
    let actor = bytes.text()?.into();
    let note = if flags & has::NOTE != 0 { Some(bytes.array()?) } else { None };
    let (seq, at, kind) = (Seq(seq), Time(at), entry_kind(kind.into()));
    let entry = Entry {
        seq,
        at,
        kind,
        amount,
        available,
        balance,
        debt,
        postings,
        grant,
        hold,
        price,
        attempted,
        until,
        terms,
        release_reason,
        epoch,
        labels,
    };
    Some((entry, actor, note)).filter(|_| bytes.0.is_empty())
}

fn posting(bytes: &mut Bytes<'_>) -> Option<Posting> {
    let (grant, [buckets]) = (Seq(bytes.int()?), bytes.array()?);
    let (from, to) = (bucket_of(buckets >> 4)?, bucket_of(buckets & 0xf)?);
    Some(Posting { grant, from, to, credits: bytes.int()? })
}

fn price(bytes: &mut Bytes<'_>) -> Option<Price> {
    let operation = bytes.text()?.into();
    Some(Price { operation, quantity: bytes.int()?, unit_price: bytes.int()?, version: bytes.int()? })
}

fn terms(bytes: &mut Bytes<'_>, at: i64, expires_at: Option<Time>) -> Option<GrantTerms> {
    let (credits, kind) = (Amount::new(bytes.int()?)?, grant_kind(bytes.int()?));
    let (priority, effective) = (bytes.int()?.try_into().ok()?, bytes.int()?);
    Some(GrantTerms { credits, kind, priority, effective_at: Time(at.wrapping_add(effective)), expires_at })
}

/// Bytes that are read from the front. `None` from any reader: they end too early.
#[derive(Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// So many bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// Whether something follows.
    pub fn flag(&mut self) -> Option<bool> {
        self.array().map(|[flag]: [u8; 1]| flag == 1)
    }

    /// A text.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.blob()?).ok()
    }

    /// Bytes after their length.
    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.int()?).ok()?;
        self.take(length)
    }

    /// An integer.
    pub fn int(&mut self) -> Option<i64> {
        let (mut int, mut shift) = (0_u64, 0);
        loop {
            let [byte] = self.array()?;
            int |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some((int >> 1) as i64 ^ -((int & 1) as i64));
            }
            shift += 7;
        }
    }

    /// An integer where a flag is set.
    fn int_of(&mut self, flag: u16) -> Option<Option<i64>> {
        if flag == 0 { Some(None) } else { self.int().map(Some) }
    }
}
