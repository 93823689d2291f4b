//! The canonical bytes of an entry, version 1: what the hash chain covers and the journal keeps.
//!
//! Every field stands in one order: integers as 8 bytes big-endian, an absent value as one zero byte, a present one after a
//! one, text after its length in 4 bytes.
//!
//! Invariant: `decode` gives back what `encode` was given. These bytes are in databases: a new form is a new version.

use std::sync::Arc;

use billing::{Entry, Labels, Price, Seq, Time};

use super::codec::{
    entry_kind, kind_code, postings, postings_text, release_code, release_reason, terms, terms_text,
};

const VERSION: u8 = 1;

/// Writes an entry, who asked, and the digest of its note.
pub fn encode(entry: &Entry, actor: &str, note: Option<&[u8; 32]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(384);
    bytes.push(VERSION);
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

/// Writes an integer that may be absent.
fn put_int(bytes: &mut Vec<u8>, int: Option<i64>) {
    bytes.push(u8::from(int.is_some()));
    bytes.extend(int.into_iter().flat_map(i64::to_be_bytes));
}

/// Writes a text.
pub fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// The number of the entry that these bytes are of.
pub fn seq(bytes: &[u8]) -> Option<Seq> {
    let mut bytes = Bytes(bytes);
    bytes.array::<1>()?;
    bytes.int().map(Seq)
}

/// Reads an entry, who asked, and the digest of its note; labels are free text and stand elsewhere. `None`: not such bytes.
pub fn decode(bytes: &mut Bytes<'_>, labels: Arc<Labels>) -> Option<(Entry, Arc<str>, Option<[u8; 32]>)> {
    if bytes.array()? != [VERSION] {
        return None;
    }
    let (seq, at, kind) = (Seq(bytes.int()?), Time(bytes.int()?), entry_kind(bytes.int()?));
    let (amount, available, balance, debt) = (bytes.int()?, bytes.int()?, bytes.int()?, bytes.int()?);
    let postings = postings(bytes.text()?);
    let (grant, hold) = (bytes.opt_int()?.map(Seq), bytes.opt_int()?.map(Seq));
    let operation = bytes.text()?;
    let (quantity, unit_price, version) = (bytes.opt_int()?, bytes.opt_int()?, bytes.opt_int()?);
    let price = quantity.zip(unit_price).zip(version).map(|((quantity, unit_price), version)| Price {
        operation: operation.into(),
        quantity,
        unit_price,
        version,
    });
    let (attempted, until) = (bytes.int()?, bytes.opt_int()?.map(Time));
    let terms = terms(bytes.text()?, until);
    let release_reason = bytes.opt_int()?.map(release_reason);
    let (epoch, actor) = (bytes.int()?, bytes.text()?.into());
    let note = if bytes.flag()? { Some(bytes.array()?) } else { None };
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
    Some((entry, actor, note))
}

/// Bytes that are read from the front. `None` from any reader: they end too early.
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
        let length = u32::from_be_bytes(self.array()?);
        self.take(length as usize)
    }

    /// An integer.
    pub fn int(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn opt_int(&mut self) -> Option<Option<i64>> {
        if self.flag()? { self.int().map(Some) } else { Some(None) }
    }
}
