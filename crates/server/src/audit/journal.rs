//! The journal as the auditor reads it: entries that their tables may not have yet, and the newest keys.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::book::Book;
use super::reader::{Read, Reader, Statement};
use super::rows::EntryRow;
use super::{Findings, JOURNAL, KEYS, NOTE, PLACE, WORKSPACE};

/// How many rows are in memory at a time: a row is a whole batch.
const PAGE: i32 = 16;

/// Where the sequence number stands in an entry's canonical bytes: after the version.
const SEQ: std::ops::Range<usize> = 1..9;

/// The segment of keys that stand for something else than an entry.
const DIRECT: i64 = 0;

/// One entry in the journal.
pub struct JournalRow {
    seq: i64,
    hash: Vec<u8>,
    canonical: Vec<u8>,
    /// Whether its note is the one whose digest the chain covers.
    noted: bool,
    key: Option<(i64, String)>,
}

/// What of the journal belongs to each workspace, in order, and the rows that cannot be read.
#[derive(Default)]
pub struct Journal {
    entries: HashMap<i64, Vec<JournalRow>>,
    unreadable: Vec<i64>,
}

/// Reads all of a partition's. It is short: what is older is only in its tables.
pub fn read(reader: Reader<'_>, partition: i64) -> Read<Journal> {
    let sql = "select id, body from journal where partition = {partition} order by id";
    let mut statement = reader.prepare(sql, partition)?;
    let (mut rows, mut journal, mut last) = (statement.pages(&[], PAGE)?, Journal::default(), None);
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let entries = parse(&row.bytes(1)?);
        // A row's id counts what has happened until its end, so that a row that was taken out leaves a gap.
        let follows = |entries: &Vec<_>| last.is_none_or(|last| id == last + entries.len().max(1) as i64);
        match entries.filter(follows) {
            Some(entries) => {
                for (workspace, entry) in entries {
                    journal.entries.entry(workspace).or_default().push(entry);
                }
            }
            None => journal.unreadable.push(id),
        }
        last = Some(id);
    }
    Ok(journal)
}

impl Journal {
    /// The entries of a workspace, which are not asked for again.
    pub fn take(&mut self, workspace: i64) -> Ahead {
        Ahead {
            rows: self.entries.remove(&workspace).unwrap_or_default().into_iter().peekable(),
            keys: BTreeMap::new(),
        }
    }

    /// Reports the rows that cannot be read or do not follow, and the entries of workspaces that do not exist here.
    pub fn strays(&self, (partition, partitions): (i64, i64), findings: &mut Findings) {
        findings.workspace = 0;
        for id in &self.unreadable {
            findings.broken(JOURNAL, format!("row {id} of the journal cannot be read or follows no other"));
        }
        for workspace in self.entries.keys() {
            findings.workspace = *workspace;
            findings.check(workspace.rem_euclid(partitions) == partition, PLACE, || {
                format!("the journal of partition {partition} of {partitions} has entries of it")
            });
            findings
                .broken(WORKSPACE, "the journal has entries of a workspace that does not exist".to_owned());
        }
    }
}

/// Bytes that are read from the front; `None` when they end too early.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    fn length(&mut self) -> Option<usize> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn blob(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn int(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// Form, name, what was written (workspace, entry, flag), what was sealed (segment, keys, flag), then each entry after its
/// workspace and length.
fn parse(body: &[u8]) -> Option<Vec<(i64, JournalRow)>> {
    let mut rest = Rest(body);
    (rest.take(1)? == [1]).then_some(())?;
    rest.take(16)?;
    let written = rest.length()?;
    rest.take(written.checked_mul(17)?)?;
    rest.take(17)?;
    let mut entries = Vec::new();
    while !rest.0.is_empty() {
        entries.push((rest.int()?, parse_entry(rest.blob()?)?));
    }
    Some(entries)
}

/// Note (a salt and six texts), key (kind, text, fingerprint), hash, and then the bytes that the chain covers.
fn parse_entry(body: &[u8]) -> Option<JournalRow> {
    let mut rest = Rest(body);
    let digest = if rest.take(1)? == [1] {
        let note = rest.0;
        rest.take(16)?;
        for _ in 0..6 {
            rest.blob()?;
        }
        Some(Sha256::digest(&note[..note.len() - rest.0.len()]))
    } else {
        None
    };
    let key = if rest.take(1)? == [1] {
        let kind = i64::from(rest.take(1)?[0]);
        let text = String::from_utf8(rest.blob()?.to_vec()).ok()?;
        rest.take(16)?;
        Some((kind, text))
    } else {
        None
    };
    let (hash, canonical) = (rest.take(32)?.to_vec(), rest.0.to_vec());
    let seq = i64::from_be_bytes(canonical.get(SEQ)?.try_into().ok()?);
    // The digest is the last of what the chain covers.
    let end = digest.map_or(vec![0], |digest| [&[1], digest.as_slice()].concat());
    let noted = canonical.ends_with(&end);
    Some(JournalRow { seq, hash, canonical, noted, key })
}

/// What the journal says of a workspace, read in step with its entries.
pub struct Ahead {
    rows: std::iter::Peekable<std::vec::IntoIter<JournalRow>>,
    keys: BTreeMap<(i64, String), i64>,
}

/// What the journal said of a workspace.
pub struct Journaled {
    /// Kind and text of each key, with the entry that it made.
    keys: BTreeMap<(i64, String), i64>,
    /// The entries that the tables do not have yet.
    ahead: std::ops::RangeInclusive<i64>,
}

impl Ahead {
    /// What the tables have is the same in the journal. `before` is the hash of the entry before.
    pub fn meet(&mut self, entry: &EntryRow, before: &[u8], findings: &mut Findings) {
        while self.rows.peek().is_some_and(|row| row.seq <= entry.seq) {
            let Some(row) = self.next(findings) else { return };
            let hash = Sha256::new().chain_update(before).chain_update(&row.canonical).finalize();
            let same = row.seq == entry.seq && row.hash == entry.hash && row.hash == hash.as_slice();
            findings.check(same, JOURNAL, || another(row.seq));
        }
    }

    /// What the tables do not have yet continues the chain. `each` is told of every entry of it.
    pub fn follow(
        mut self,
        book: &Book,
        findings: &mut Findings,
        mut each: impl FnMut(i64, &[u8], &mut Findings),
    ) -> Journaled {
        let (mut seq, mut hash) = (book.seq, book.hash.clone());
        while let Some(row) = self.next(findings) {
            if row.seq <= book.seq {
                findings.broken(JOURNAL, another(row.seq));
                continue;
            }
            let follows = Sha256::new().chain_update(&hash).chain_update(&row.canonical).finalize();
            findings.check(row.seq == seq + 1 && row.hash == follows.as_slice(), JOURNAL, || {
                format!("entry {} in the journal does not follow entry {seq}", row.seq)
            });
            (seq, hash) = (row.seq, row.hash);
            each(seq, &hash, findings);
        }
        Journaled { keys: self.keys, ahead: book.seq + 1..=seq }
    }

    fn next(&mut self, findings: &mut Findings) -> Option<JournalRow> {
        let mut row = self.rows.next()?;
        findings.check(row.noted, NOTE, || format!("entry {} and its note in the journal disagree", row.seq));
        if let Some(key) = row.key.take() {
            let before = self.keys.insert(key, row.seq);
            findings.check(before.is_none(), KEYS, || {
                format!("one key made the entries {before:?} and {}", row.seq)
            });
        }
        Some(row)
    }
}

fn another(seq: i64) -> String {
    format!("entry {seq} is another one in the journal")
}

/// The segments of a partition's keys, each with its filter; `None` for one that is not finished.
pub type Segments = BTreeMap<i64, Option<Vec<u8>>>;

/// Reads the segments, from one to the next without reading the keys.
pub fn segments(reader: Reader<'_>, partition: i64) -> Read<Segments> {
    let next = "select min(segment) from request where partition = {partition} and segment > ?1";
    let filter = "select filter from request_segment where partition = {partition} and segment = ?1";
    let (mut next, mut filter) = (reader.prepare(next, partition)?, reader.prepare(filter, partition)?);
    let (mut segments, mut segment) = (Segments::new(), i64::MIN);
    loop {
        let found = match next.rows(&[segment])?.next()? {
            Some(row) => row.get::<Option<i64>>(0)?,
            None => None,
        };
        let Some(found) = found else { return Ok(segments) };
        let finished = filter.rows(&[found])?.next()?.map(|row| row.get(0)).transpose()?;
        segments.insert(found, finished);
        segment = found;
    }
}

/// The keys of one workspace in these segments, each of which is looked into by its key.
pub fn keys_of(segments: &Segments) -> String {
    let numbers: Vec<String> = segments.keys().map(ToString::to_string).collect();
    // There is no empty list in SQL.
    let numbers = if numbers.is_empty() { "0".to_owned() } else { numbers.join(", ") };
    format!(
        "select segment, kind, key, seq from request
         where partition = {{partition}} and segment in ({numbers}) and workspace = ?1"
    )
}

/// Gives the keys of a workspace, in segments and in the journal, each with what it made; but for those of entries that are
/// not in their tables yet.
pub fn keys(
    statement: &mut Statement<'_>,
    (workspace, segments): (i64, &Segments),
    Journaled { keys: journaled, ahead }: Journaled,
    findings: &mut Findings,
    mut each: impl FnMut((i64, &str, i64), &mut Findings) -> Read<()>,
) -> Read<()> {
    let mut rows = statement.rows(&[workspace])?;
    while let Some(row) = rows.next()? {
        let (segment, kind, key, seq): (i64, i64, String, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        if segment == DIRECT {
            each((kind, &key, seq), findings)?;
            continue;
        }
        let known = journaled.get(&(kind, key.clone()));
        findings.check(known.is_none_or(|known| *known == seq), KEYS, || {
            format!("one key names entry {seq} in its segment and {known:?} in the journal")
        });
        match segments.get(&segment).and_then(Option::as_ref) {
            Some(filter) => findings.check(may_have(filter, workspace, kind, &key), KEYS, || {
                format!("the filter of segment {segment} denies the key of entry {seq}")
            }),
            None => findings.check(known.is_some(), KEYS, || {
                format!("the key of entry {seq} is neither in a finished segment nor in the journal")
            }),
        }
        if known.is_none() && !ahead.contains(&seq) {
            each((kind, &key, seq), findings)?;
        }
    }
    for ((kind, key), seq) in &journaled {
        if !ahead.contains(seq) {
            each((*kind, key, *seq), findings)?;
        }
    }
    Ok(())
}

/// Whether a Bloom filter says that a key may be there: eight bits, each named by four bytes of the key's SHA-256.
fn may_have(filter: &[u8], workspace: i64, kind: i64, key: &str) -> bool {
    let hash = Sha256::new().chain_update(workspace.to_be_bytes());
    let digest = hash.chain_update([kind as u8]).chain_update(key).finalize();
    digest.chunks(4).all(|four| {
        let number = four.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        !filter.is_empty() && {
            let bit = number % (filter.len() * 8);
            filter[bit / 8] & (1 << (bit % 8)) != 0
        }
    })
}
