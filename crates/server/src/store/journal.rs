//! The journal: entries are committed here first, one after the other, and written into their tables later, many at once.
//!
//! Owns the rows of `journal`. A charge of one of many workspaces would touch a page of its own in every table it is in; an
//! entry here shares its page with its neighbours. What is written later can be lost and made again from here.
//!
//! Invariant: an entry is in the journal until it is in its tables and its key is in a finished segment; the account's row
//! says up to which entry the tables are written.

use std::sync::Arc;

use billing::{Labels, Seq};

use super::Error;
use super::canonical::{self, Bytes, put_text};
use super::committer::{Key, KeyKind};
use super::db::Tx;
use super::entry::{Note, Recorded};
use crate::values;

/// An entry as it lies in the journal.
pub struct Journaled<'a> {
    /// The key that it was posted with.
    pub key: Option<Key>,
    /// Its number.
    pub seq: Seq,
    note: Option<Note>,
    hash: [u8; 32],
    canonical: &'a [u8],
}

impl Journaled<'_> {
    /// The entry.
    ///
    /// # Errors
    /// When these bytes are no entry.
    pub fn recorded(&self) -> Result<Recorded, Error> {
        let labels = self.note.as_ref().map_or_else(Arc::default, |note| note.labels.clone());
        let entry = canonical::decode(&mut Bytes(self.canonical), labels);
        let (entry, actor, _) = entry.ok_or_else(unreadable)?;
        Ok(Recorded { entry, actor, note: self.note.clone(), hash: self.hash })
    }
}

fn unreadable() -> Error {
    Error::Unavailable("the journal cannot be read".to_owned())
}

/// The journal's form of an entry: note, key and hash, then the bytes that the chain covers.
pub fn body(Recorded { note, hash, .. }: &Recorded, key: Option<&Key>, canonical: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(canonical.len() + 128);
    bytes.push(u8::from(note.is_some()));
    if let Some(note) = note {
        bytes.extend(note.salt);
        note.texts().into_iter().for_each(|text| put_text(&mut bytes, text));
    }
    bytes.push(u8::from(key.is_some()));
    if let Some(key) = key {
        bytes.push(key.kind as u8);
        put_text(&mut bytes, &key.key);
        bytes.extend(key.fingerprint);
    }
    bytes.extend(hash);
    bytes.extend(canonical);
    bytes
}

fn read(body: &[u8]) -> Option<Journaled<'_>> {
    let mut bytes = Bytes(body);
    let note = if bytes.flag()? { Some(read_note(&mut bytes)?) } else { None };
    let key = if bytes.flag()? { Some(read_key(&mut bytes)?) } else { None };
    let (hash, canonical) = (bytes.array()?, bytes.0);
    Some(Journaled { key, seq: canonical::seq(canonical)?, note, hash, canonical })
}

fn read_note(bytes: &mut Bytes<'_>) -> Option<Note> {
    let salt = bytes.array()?;
    let mut text = || bytes.text().map(|text| Some(text).filter(|text| !text.is_empty()).map(Arc::from));
    let (campaign, member, channel, reference, lead) = (text()?, text()?, text()?, text()?, text()?);
    let labels = Arc::new(Labels { campaign, member, channel, reference, lead });
    Some(Note { salt, labels, reason: text()? })
}

fn read_key(bytes: &mut Bytes<'_>) -> Option<Key> {
    let [kind] = bytes.array()?;
    Some(Key { kind: KeyKind::of(kind)?, key: bytes.text()?.into(), fingerprint: bytes.array()? })
}

/// Appends an entry.
pub fn append(tx: &Tx<'_>, id: i64, workspace: i64, body: &[u8]) -> Result<(), Error> {
    tx.execute(
        "insert into journal (id, workspace, body) values (?1, ?2, ?3)",
        values![id, workspace, body],
    )?;
    Ok(())
}

/// Everything in the journal, oldest first: number, workspace, entry.
pub fn replay(
    tx: &Tx<'_>,
    mut each: impl FnMut(i64, i64, Journaled<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    tx.query("select id, workspace, body from journal order by id", &[], |row| {
        let body = row.blob(2)?;
        each(row.int(0)?, row.int(1)?, read(&body).ok_or_else(unreadable)?)
    })?;
    Ok(())
}

/// Drops the rows before `end`.
pub fn drop_before(tx: &Tx<'_>, end: i64) -> Result<(), Error> {
    tx.execute("delete from journal where id < ?1", values![end])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use billing::account::{Bucket, Posting};
    use billing::ledger::GrantTerms;
    use billing::{Amount, Entry, EntryKind, GrantKind, Price, ReleaseReason, Time};

    use super::*;

    #[test]
    fn what_is_journaled_reads_back() {
        let labels =
            Labels { campaign: Some("spring".into()), lead: Some("l-1".into()), ..Labels::default() };
        let labels = Arc::new(labels);
        let full = Entry {
            seq: Seq(7),
            at: Time(1_900_000_000_000_001),
            kind: EntryKind::Release,
            amount: -6,
            available: 12,
            balance: i64::MAX,
            debt: -3,
            postings: vec![Posting { grant: Seq(1), from: Bucket::Held, to: Bucket::Available, credits: 6 }],
            grant: Some(Seq(1)),
            hold: Some(Seq(5)),
            price: Some(Price { operation: "e\u{301}mail".into(), quantity: 3, unit_price: 2, version: 1 }),
            attempted: 3,
            until: Some(Time(-1)),
            terms: Some(GrantTerms {
                credits: Amount::new(9).expect("an amount"),
                kind: GrantKind::Promo,
                priority: -2,
                effective_at: Time(5),
                expires_at: Some(Time(-1)),
            }),
            release_reason: Some(ReleaseReason::Deadline),
            epoch: 4,
            labels: labels.clone(),
        };
        let bare = Entry {
            postings: Vec::new(),
            grant: None,
            hold: None,
            price: None,
            until: None,
            terms: None,
            release_reason: None,
            labels: Arc::default(),
            ..full.clone()
        };
        let key = Key { kind: KeyKind::Period, key: "k".into(), fingerprint: [9; 16] };
        for (entry, note, key) in
            [(full, Note::new(&labels, Some("why".into())), Some(key)), (bare, None, None)]
        {
            let (recorded, canonical) = Recorded::new(entry, "key_1".into(), note, &[3; 32]);
            let body = body(&recorded, key.as_ref(), &canonical);
            let again = read(&body).expect("it reads back");
            let (entry, known) = (again.recorded().expect("an entry"), again.key);
            assert_eq!(format!("{entry:?} {known:?}"), format!("{recorded:?} {key:?}"));
            let reads = |end: &usize| read(&body[..*end]).is_some_and(|part| part.recorded().is_ok());
            let cut = (0..body.len()).filter(reads).count();
            assert_eq!(cut, 0, "a part of it is not an entry");
        }
    }
}
