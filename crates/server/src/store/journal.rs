//! The journal: a batch's entries are committed here first, as one row, and written into their tables later, many at once.
//!
//! Owns the rows of `journal`. A charge of one of many workspaces would touch a page of its own in every table it is in; here
//! all of a batch share one row. What is written later can be lost and made again from here. Where several nodes write, it is
//! also how each learns what the others did.
//!
//! Invariant: an entry is in the journal until it is in its tables and its key is in a finished segment; the account's row
//! says up to which entry the tables are written. A row's id is how much has happened until its end, and never used twice.

use billing::Seq;

use super::Error;
use super::canonical::{self, Bytes, put_text};
use super::committer::{Key, KeyKind};
use super::db::{News, Tx};
use super::entry::{Note, Recorded};
use super::keys::Sealed;
use super::page::{self, put_note, read_note};
use crate::values;

/// The form of a row.
const VERSION: u8 = 1;
/// What a row begins with: its form, and a random name by which it is known again.
const HEAD: usize = 1 + NAME;
const NAME: usize = 16;
/// How long the hash of an entry is.
const HASH: usize = 32;

/// The random name of a row.
pub type Name = [u8; NAME];

/// What a batch did to tables behind its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to which entry the rows of a workspace were written.
    pub written: Vec<Written>,
    /// What was done for keys.
    pub sealed: Sealed,
}

/// The rows of one workspace that a batch wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The workspace.
    pub workspace: i64,
    /// Its last entry in the tables.
    pub until: Seq,
    /// Whether more was written than entries make, so that others must read the account anew.
    pub anew: bool,
}

/// One row, as it was read.
pub struct Row {
    /// How much has happened until its end.
    pub id: i64,
    /// Its name.
    pub name: Name,
    /// What it did besides.
    pub progress: Progress,
    /// The length of what stands before its entries.
    head: usize,
    body: Vec<u8>,
}

/// An entry as it lies in the journal: where its parts are, so that whoever needs few of them makes nothing of the others.
pub struct Journaled<'a> {
    /// The workspace.
    pub workspace: i64,
    /// The key that it was posted with: its kind, its text, and the digest of the command.
    pub key: Option<(KeyKind, &'a str, [u8; 16])>,
    /// Its number.
    pub seq: Seq,
    /// SHA-256 over the hash before and this entry.
    pub hash: [u8; 32],
    /// What the chain covers.
    pub canonical: &'a [u8],
    note: Option<&'a [u8]>,
}

impl Journaled<'_> {
    /// An entry from its body.
    ///
    /// # Errors
    /// When these bytes are none.
    pub fn read(workspace: i64, body: &[u8]) -> Result<Journaled<'_>, Error> {
        read_entry(workspace, body).ok_or_else(unreadable)
    }

    /// The entry.
    ///
    /// # Errors
    /// When these bytes are no entry.
    pub fn recorded(&self) -> Result<Recorded, Error> {
        let note = self.note.map(|note| read_note(&mut Bytes(note)).ok_or_else(unreadable));
        page::recorded(self.canonical, note.transpose()?)
    }
}

impl Row {
    /// Its entries, oldest first: the workspace of each, and what [`Journaled::read`] takes.
    ///
    /// # Errors
    /// When these bytes are no entries.
    pub fn entries(&self) -> Result<Vec<(i64, &[u8])>, Error> {
        let (mut bytes, mut entries) = (Bytes(&self.body[self.head..]), Vec::new());
        while !bytes.0.is_empty() {
            entries.push(bytes.int().zip(bytes.blob()).ok_or_else(unreadable)?);
        }
        Ok(entries)
    }
}

fn unreadable() -> Error {
    Error::Unavailable("the journal cannot be read".to_owned())
}

/// Begins the body of an entry: what it has, its note and key, and room for its hash. Answers where the bytes begin that the
/// chain covers, which follow.
pub fn begin(body: &mut Vec<u8>, note: Option<&Note>, key: Option<&Key>) -> usize {
    body.clear();
    body.push(u8::from(note.is_some()) | u8::from(key.is_some()) << 1);
    if let Some(note) = note {
        put_note(body, note);
    }
    if let Some(key) = key {
        body.push(key.kind as u8);
        put_text(body, &key.key);
        body.extend_from_slice(&key.fingerprint);
    }
    body.extend_from_slice(&[0; HASH]);
    body.len()
}

/// Adds an entry to what becomes a row: its workspace, and its body with its hash before the bytes that the chain covers.
pub fn push(bytes: &mut Vec<u8>, workspace: i64, body: &mut [u8], covered: usize, hash: &[u8; HASH]) {
    body[covered - HASH..covered].copy_from_slice(hash);
    canonical::put_int(bytes, workspace);
    canonical::put_blob(bytes, body);
}

/// A whole row: its name, what it did besides, and its entries.
pub fn body(name: &Name, progress: &Progress, entries: &[u8]) -> Vec<u8> {
    let Progress { written, sealed } = progress;
    let mut bytes = Vec::with_capacity(HEAD + 24 + 17 * written.len() + entries.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(name);
    canonical::put_int(&mut bytes, written.len() as i64);
    for Written { workspace, until, anew } in written {
        canonical::put_int(&mut bytes, *workspace);
        canonical::put_int(&mut bytes, until.0);
        bytes.push(u8::from(*anew));
    }
    canonical::put_int(&mut bytes, sealed.begun);
    canonical::put_int(&mut bytes, sealed.keys);
    bytes.push(u8::from(sealed.finished));
    bytes.extend_from_slice(entries);
    bytes
}

/// Reads a row.
///
/// # Errors
/// When these bytes are none.
pub fn read(id: i64, body: Vec<u8>) -> Result<Row, Error> {
    parse(id, body).ok_or_else(unreadable)
}

fn parse(id: i64, body: Vec<u8>) -> Option<Row> {
    let mut bytes = Bytes(&body);
    (bytes.array()? == [VERSION]).then_some(())?;
    let name = bytes.array()?;
    let mut progress = Progress::default();
    for _ in 0..bytes.int()? {
        let (workspace, until) = (bytes.int()?, Seq(bytes.int()?));
        progress.written.push(Written { workspace, until, anew: bytes.flag()? });
    }
    let (begun, keys) = (bytes.int()?, bytes.int()?);
    progress.sealed = Sealed { begun, keys, finished: bytes.flag()? };
    let head = body.len() - bytes.0.len();
    Some(Row { id, name, progress, head, body })
}

fn read_entry(workspace: i64, body: &[u8]) -> Option<Journaled<'_>> {
    let mut bytes = Bytes(body);
    let [has] = bytes.array()?;
    let note = if has & 1 != 0 { Some(page::skip_note(&mut bytes)?) } else { None };
    let key = if has & 2 != 0 { Some(read_key(&mut bytes)?) } else { None };
    let (hash, canonical) = (bytes.array()?, bytes.0);
    Some(Journaled { workspace, key, seq: canonical::seq(canonical)?, hash, canonical, note })
}

fn read_key<'a>(bytes: &mut Bytes<'a>) -> Option<(KeyKind, &'a str, [u8; 16])> {
    let [kind] = bytes.array()?;
    Some((KeyKind::of(kind)?, bytes.text()?, bytes.array()?))
}

/// Appends a row.
pub fn append(tx: &Tx<'_>, partition: i64, id: i64, body: &[u8]) -> Result<(), Error> {
    tx.send("insert into journal (partition, id, body) values (?1, ?2, ?3)", values![partition, id, body])
}

/// Everything in the journal, oldest first.
pub fn all(tx: &Tx<'_>, partition: i64) -> Result<News, Error> {
    tx.query("select id, body from journal where partition = ?1 order by id", values![partition], |row| {
        Ok((row.int(0)?, row.blob(1)?))
    })
}

/// The name of a row that begins with these bytes.
pub fn name(head: &[u8]) -> Option<Name> {
    head.get(1..HEAD)?.try_into().ok()
}

/// Where the journal ends.
pub fn end(tx: &Tx<'_>, partition: i64) -> Result<i64, Error> {
    tx.int("select max(id) from journal where partition = ?1", values![partition])
}

/// The name of a row, if it is there.
pub fn name_of(tx: &Tx<'_>, partition: i64, id: i64) -> Result<Option<Name>, Error> {
    let name = format!("select substr(body, 2, {NAME}) from journal where partition = ?1 and id = ?2");
    let name = tx.one(&name, values![partition, id], |row| row.blob(0))?;
    Ok(name.and_then(|name| name.try_into().ok()))
}

/// Whether a row with this id and name was committed; `None` when rows as old as that are not kept any more.
pub fn has(tx: &Tx<'_>, partition: i64, id: i64, name: Name) -> Result<Option<bool>, Error> {
    if let Some(there) = name_of(tx, partition, id)? {
        return Ok(Some(there == name));
    }
    let first = tx.int("select min(id) from journal where partition = ?1", values![partition])?;
    Ok((first < id).then_some(false))
}

/// Drops the rows after `begin`, which were dropped before, until `end`. PostgreSQL would look at all that it has not cleaned up.
pub fn drop_between(tx: &Tx<'_>, partition: i64, begin: i64, end: i64) -> Result<(), Error> {
    let rows = "delete from journal where partition = ?1 and id > ?2 and id <= ?3";
    tx.send(rows, values![partition, begin, end])
}

#[cfg(test)]
mod tests {
    use billing::account::{Bucket, Posting, Postings};
    use billing::ledger::GrantTerms;
    use std::sync::Arc;

    use billing::{Amount, Entry, EntryKind, GrantKind, Labels, Price, ReleaseReason, Time};

    use super::*;

    fn has_entry(row: &Row) -> bool {
        let is_entry = |(workspace, body): &(i64, &[u8])| {
            Journaled::read(*workspace, body).is_ok_and(|one| one.recorded().is_ok())
        };
        row.entries().is_ok_and(|all| all.iter().any(is_entry))
    }

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
            postings: [Posting { grant: Seq(1), from: Bucket::Held, to: Bucket::Available, credits: 6 }]
                .into_iter()
                .collect(),
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
            postings: Postings::default(),
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
            let digest = note.as_ref().map(Note::digest);
            let recorded = Recorded { entry, actor: "key_1".into(), note };
            let mut own = vec![7; 3];
            let covered = begin(&mut own, recorded.note.as_ref(), key.as_ref());
            canonical::encode(&mut own, &recorded.entry, &recorded.actor, digest.as_ref());
            let written = vec![Written { workspace: 5, until: Seq(9), anew: true }];
            let progress = Progress { written, sealed: Sealed { begun: 2, keys: 77, finished: true } };
            let mut entries = Vec::new();
            push(&mut entries, 5, &mut own, covered, &[3; 32]);
            let body = body(&[7; NAME], &progress, &entries);
            let row = parse(12, body.clone()).expect("it reads back");
            assert_eq!((row.name, &row.progress), ([7; NAME], &progress));
            let (workspace, again) = row.entries().expect("entries").pop().expect("one");
            let again = Journaled::read(workspace, again).expect("an entry");
            let (entry, known) = (again.recorded().expect("an entry"), again.key);
            let key = key.as_ref().map(|Key { kind, key, fingerprint }| (*kind, &**key, *fingerprint));
            assert_eq!(format!("{workspace} {entry:?} {known:?}"), format!("5 {recorded:?} {key:?}"));
            let reads = |end: &usize| parse(12, body[..*end].to_vec()).is_some_and(|row| has_entry(&row));
            assert_eq!((0..body.len()).filter(reads).count(), 0, "a part of it is not an entry");
        }
    }
}
