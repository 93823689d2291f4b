//! The journal as the auditor reads it: entries that their tables may not have yet, and the newest keys.

use std::collections::{BTreeMap, HashMap};

use super::book::Book;
use super::bytes::Rest;
use super::pages::{Entry, Note, chained};
use super::reader::{Read, Reader, Statement};
use super::{Findings, JOURNAL, KEYS, NOTE, PLACE, WORKSPACE};

/// What an entry has beside it, each a bit.
const NOTED: u8 = 1;
const KEYED: u8 = 2;
/// How many bytes the length of an entry takes in memory.
const LENGTH: usize = 8;

/// One entry in the journal.
struct Journaled<'j> {
    entry: Entry<'j>,
    hash: &'j [u8],
    note: Option<Note<'j>>,
    key: Option<(Vec<u8>, [u8; 16])>,
}

/// How many bytes of entries are in memory at a time, unless one workspace has more. The journal is read again for the next ones.
const MOST: usize = 32 << 20;

/// The journal of a partition. Of what it has, that of some workspaces after one another is in memory, in order and as it lies there.
pub struct Journal<'a> {
    statement: Statement<'a>,
    /// How many bytes there are of each workspace that was not asked for yet.
    sizes: BTreeMap<i64, usize>,
    /// Of the workspaces until this one what is needed is in memory.
    until: i64,
    entries: HashMap<i64, Vec<u8>>,
    unreadable: Vec<i64>,
}

/// Reads all of a partition's. What is older is only in its tables.
pub fn read(reader: Reader<'_>, partition: i64) -> Read<Journal<'_>> {
    let sql = "select id, body from journal where partition = {partition} order by id";
    let mut statement = reader.prepare(sql, partition)?;
    let (mut sizes, mut unreadable, mut last) = (BTreeMap::new(), Vec::new(), None);
    let mut rows = statement.rows(&[])?;
    while let Some(row) = rows.next()? {
        let (id, body) = (row.get(0)?, row.get::<Vec<u8>>(1)?);
        let entries = parse(&body);
        // A row's id counts what has happened until its end, so that a row that was taken out leaves a gap.
        let follows = |entries: &Vec<_>| last.is_none_or(|last| id == last + entries.len().max(1) as i64);
        match entries.filter(follows) {
            Some(entries) => {
                for (workspace, entry) in entries {
                    *sizes.entry(workspace).or_default() += LENGTH + entry.len();
                }
            }
            None => unreadable.push(id),
        }
        last = Some(id);
    }
    drop(rows);
    Ok(Journal { statement, sizes, until: i64::MIN, entries: HashMap::new(), unreadable })
}

impl Journal<'_> {
    /// The entries of a workspace, which are not asked for again. Workspaces are asked for in order.
    pub fn take(&mut self, workspace: i64) -> Read<Ahead> {
        if workspace > self.until && self.sizes.contains_key(&workspace) {
            self.fetch(workspace)?;
        }
        self.sizes.remove(&workspace);
        let bytes = self.entries.remove(&workspace).unwrap_or_default();
        Ok(Ahead { bytes, at: 0, keys: BTreeMap::new() })
    }

    /// Reads those of a workspace and of as many after it as there is room for.
    fn fetch(&mut self, first: i64) -> Read<()> {
        self.entries.clear();
        let mut room = MOST;
        for (workspace, size) in self.sizes.range(first..) {
            if *size > room && *workspace > first {
                break;
            }
            room = room.saturating_sub(*size);
            self.entries.insert(*workspace, Vec::with_capacity(*size));
            self.until = *workspace;
        }
        let mut rows = self.statement.rows(&[])?;
        while let Some(row) = rows.next()? {
            if self.unreadable.binary_search(&row.get(0)?).is_ok() {
                continue;
            }
            for (workspace, entry) in parse(&row.get::<Vec<u8>>(1)?).into_iter().flatten() {
                if let Some(own) = self.entries.get_mut(&workspace) {
                    own.extend((entry.len() as u64).to_be_bytes());
                    own.extend(entry);
                }
            }
        }
        Ok(())
    }

    /// Reports the rows that cannot be read or do not follow, and the entries of workspaces that do not exist here.
    pub fn strays(&self, (partition, partitions): (i64, i64), findings: &mut Findings) {
        findings.workspace = 0;
        for id in &self.unreadable {
            findings.broken(JOURNAL, format!("row {id} of the journal cannot be read or follows no other"));
        }
        for workspace in self.sizes.keys() {
            findings.workspace = *workspace;
            findings.check(workspace.rem_euclid(partitions) == partition, PLACE, || {
                format!("the journal of partition {partition} of {partitions} has entries of it")
            });
            findings
                .broken(WORKSPACE, "the journal has entries of a workspace that does not exist".to_owned());
        }
    }
}

/// Form, name, what was written (workspace, entry, flag), what was sealed (segment, keys, flag), then each entry after its
/// workspace and length.
fn parse(body: &[u8]) -> Option<Vec<(i64, &[u8])>> {
    let mut rest = Rest(body);
    (rest.take(1)? == [1]).then_some(())?;
    rest.take(16)?;
    // One after another for each workspace, and then once for the keys.
    for _ in 0..rest.int()?.checked_add(1)? {
        rest.int()?;
        rest.int()?;
        rest.take(1)?;
    }
    let mut entries = Vec::new();
    while !rest.0.is_empty() {
        let (workspace, entry) = (rest.int()?, rest.blob()?);
        Journaled::parse(entry)?;
        entries.push((workspace, entry));
    }
    Some(entries)
}

impl Journaled<'_> {
    /// What there is, then the note, the key (kind, text, fingerprint), the hash, and then the bytes that the chain covers.
    fn parse(body: &[u8]) -> Option<Journaled<'_>> {
        let mut rest = Rest(body);
        let [has] = rest.array()?;
        (has & !(NOTED | KEYED) == 0).then_some(())?;
        let note = if has & NOTED != 0 { Some(Note::parse(&mut rest)?) } else { None };
        let key = if has & KEYED != 0 {
            let name = [rest.take(1)?, rest.text()?.as_bytes()].concat();
            Some((name, rest.array()?))
        } else {
            None
        };
        let hash = rest.take(32)?;
        Some(Journaled { entry: Entry::parse(rest.0)?, hash, note, key })
    }
}

/// What the journal says of a workspace, read in step with its entries.
pub struct Ahead {
    bytes: Vec<u8>,
    at: usize,
    keys: BTreeMap<Vec<u8>, Made>,
}

/// What a key made: the entry, and the fingerprint of what was asked for.
pub type Made = (i64, [u8; 16]);

/// What the journal said of a workspace.
pub struct Said {
    /// What each key made, by its kind and text.
    pub keys: BTreeMap<Vec<u8>, Made>,
    /// The entries that the tables do not have yet.
    pub ahead: std::ops::RangeInclusive<i64>,
}

impl Ahead {
    /// What the tables have is the same in the journal.
    pub fn meet(&mut self, (entry, hash): (&Entry<'_>, &[u8]), findings: &mut Findings) {
        while let Some((row, next)) = next(&self.bytes, self.at).filter(|(row, _)| row.entry.seq <= entry.seq)
        {
            let same = row.entry.canonical == entry.canonical && row.hash == hash;
            findings.check(same, JOURNAL, || another(row.entry.seq));
            look(&mut self.keys, row, findings);
            self.at = next;
        }
    }

    /// What the tables do not have yet continues the chain. `each` is told of every entry of it.
    pub fn follow(
        mut self,
        book: &Book,
        findings: &mut Findings,
        mut each: impl FnMut(i64, &[u8], &mut Findings),
    ) -> Said {
        let (mut seq, mut hash) = (book.seq, book.hash.clone());
        while let Some((row, next)) = next(&self.bytes, self.at) {
            self.at = next;
            let (its, own) = (row.entry.seq, row.hash.to_vec());
            let follows = own == chained(&hash, row.entry.canonical);
            look(&mut self.keys, row, findings);
            if its <= book.seq {
                findings.broken(JOURNAL, another(its));
                continue;
            }
            findings.check(its == seq + 1 && follows, JOURNAL, || {
                format!("entry {its} in the journal does not follow entry {seq}")
            });
            (seq, hash) = (its, own);
            each(seq, &hash, findings);
        }
        Said { keys: self.keys, ahead: book.seq + 1..=seq }
    }
}

/// The entry that begins there, and where the next one does. They have been read once, so that all of them can be.
fn next(bytes: &[u8], at: usize) -> Option<(Journaled<'_>, usize)> {
    let mut rest = Rest(&bytes[at..]);
    let length = usize::try_from(u64::from_be_bytes(rest.array()?)).ok()?;
    let row = Journaled::parse(rest.take(length)?)?;
    Some((row, at + LENGTH + length))
}

/// Its note, and its key, which is kept.
fn look(keys: &mut BTreeMap<Vec<u8>, Made>, row: Journaled<'_>, findings: &mut Findings) {
    let Journaled { entry, note, key, .. } = row;
    findings.check(entry.note == note.map(|note| note.digest()), NOTE, || {
        format!("entry {} and its note in the journal disagree", entry.seq)
    });
    if let Some((name, fingerprint)) = key {
        let before = keys.insert(name, (entry.seq, fingerprint));
        findings.check(before.is_none(), KEYS, || {
            format!("one key made the entries {:?} and {}", before.map(|made| made.0), entry.seq)
        });
    }
}

fn another(seq: i64) -> String {
    format!("entry {seq} is another one in the journal")
}
