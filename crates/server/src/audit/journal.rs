//! The journal as the auditor reads it: entries that their tables may not have yet, and the newest keys.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row};
use sha2::{Digest, Sha256};

use super::book::Book;
use super::{Findings, JOURNAL, KEYS, WORKSPACE};

/// Where the sequence number stands in an entry's canonical bytes: after the version.
const SEQ: std::ops::Range<usize> = 1..9;

/// The segment of keys that stand for something else than an entry.
const DIRECT: i64 = 0;

/// One entry in the journal.
pub struct JournalRow {
    seq: i64,
    hash: Vec<u8>,
    canonical: Vec<u8>,
    key: Option<(i64, String)>,
}

/// What of the journal belongs to each workspace, in order, and the rows that cannot be read.
#[derive(Default)]
pub struct Journal {
    entries: HashMap<i64, Vec<JournalRow>>,
    unreadable: Vec<i64>,
}

/// Reads all of it. It is short: what is older is only in its tables.
pub fn read(connection: &Connection) -> rusqlite::Result<Journal> {
    let mut statement = connection.prepare("select id, body from journal order by id")?;
    let (mut rows, mut journal, mut last) = (statement.query([])?, Journal::default(), None);
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let entries = parse(row.get_ref(1)?.as_blob().unwrap_or_default());
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
    /// The entries of a workspace.
    pub fn of(&self, workspace: i64) -> &[JournalRow] {
        self.entries.get(&workspace).map_or(&[], Vec::as_slice)
    }

    /// Reports the rows that cannot be read or do not follow, and the entries of workspaces that do not exist.
    pub fn strays(&self, workspaces: &[i64], findings: &mut Findings) {
        findings.workspace = 0;
        for id in &self.unreadable {
            findings.broken(JOURNAL, format!("row {id} of the journal cannot be read or follows no other"));
        }
        for workspace in self.entries.keys() {
            if workspaces.binary_search(workspace).is_err() {
                findings.workspace = *workspace;
                findings.broken(
                    WORKSPACE,
                    "the journal has entries of a workspace that does not exist".to_owned(),
                );
            }
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
    if rest.take(1)? == [1] {
        rest.take(16)?;
        for _ in 0..6 {
            rest.blob()?;
        }
    }
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
    Some(JournalRow { seq, hash, canonical, key })
}

/// What the journal says of a workspace.
pub struct Journaled {
    /// Kind and text of each key, with the entry that it made.
    keys: BTreeMap<(i64, String), i64>,
    /// The entries that the tables do not have yet.
    ahead: std::ops::RangeInclusive<i64>,
}

/// What the tables have is the same in the journal, and what they do not have continues the chain.
pub fn follow(
    connection: &Connection,
    book: &Book,
    rows: &[JournalRow],
    findings: &mut Findings,
) -> rusqlite::Result<Journaled> {
    let mut statement =
        connection.prepare_cached("select hash from entry where workspace = ?1 and seq = ?2")?;
    let (mut seq, mut hash, mut keys) = (book.seq, book.hash.clone(), BTreeMap::new());
    for row in rows {
        if let Some(key) = &row.key {
            let before = keys.insert(key.clone(), row.seq);
            findings.check(before.is_none(), KEYS, || {
                format!("one key made the entries {before:?} and {}", row.seq)
            });
        }
        if row.seq <= book.seq {
            let known: Option<Vec<u8>> =
                statement.query_row([book.workspace, row.seq], |row| row.get(0)).optional()?;
            findings.check(known.as_ref() == Some(&row.hash), JOURNAL, || {
                format!("entry {} is another one in the journal", row.seq)
            });
            continue;
        }
        let follows = Sha256::new().chain_update(&hash).chain_update(&row.canonical).finalize();
        findings.check(row.seq == seq + 1 && row.hash == follows.as_slice(), JOURNAL, || {
            format!("entry {} in the journal does not follow entry {seq}", row.seq)
        });
        (seq, hash) = (row.seq, row.hash.clone());
    }
    Ok(Journaled { keys, ahead: book.seq + 1..=seq })
}

/// The segments of the keys, each with its filter; `None` for one that is not finished.
pub type Segments = Vec<(i64, Option<Vec<u8>>)>;

/// Reads the segments.
pub fn segments(connection: &Connection) -> rusqlite::Result<Segments> {
    let mut next =
        connection.prepare("select min(segment) from request where partition = 0 and segment > ?1")?;
    let mut filter =
        connection.prepare("select filter from request_segment where partition = 0 and segment = ?1")?;
    let (mut segments, mut segment): (Segments, Option<i64>) =
        (Vec::new(), next.query_row([i64::MIN], |row| row.get(0))?);
    while let Some(found) = segment {
        segments.push((found, filter.query_row([found], |row| row.get(0)).optional()?));
        segment = next.query_row([found], |row| row.get(0))?;
    }
    Ok(segments)
}

/// The keys of a workspace, in segments and in the journal, each with what it made; but for those of entries that are not in
/// their tables yet.
pub fn keys(
    connection: &Connection,
    workspace: i64,
    segments: &[(i64, Option<Vec<u8>>)],
    Journaled { keys: journaled, ahead }: Journaled,
    findings: &mut Findings,
) -> rusqlite::Result<Vec<(i64, String, i64)>> {
    let mut statement = connection.prepare_cached(
        "select kind, key, seq from request where partition = 0 and segment = ?1 and workspace = ?2",
    )?;
    let (mut all, mut direct): (Vec<(i64, String, i64)>, Vec<_>) = (Vec::new(), Vec::new());
    for (segment, filter) in segments {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        for row in statement.query_map([*segment, workspace], read)? {
            let (kind, key, seq): (i64, String, i64) = row?;
            if *segment == DIRECT {
                direct.push((kind, key, seq));
                continue;
            }
            let known = journaled.get(&(kind, key.clone()));
            findings.check(known.is_none_or(|known| *known == seq), KEYS, || {
                format!("one key names entry {seq} in its segment and {known:?} in the journal")
            });
            match filter {
                Some(filter) => findings.check(may_have(filter, workspace, kind, &key), KEYS, || {
                    format!("the filter of segment {segment} denies the key of entry {seq}")
                }),
                None => findings.check(known.is_some(), KEYS, || {
                    format!("the key of entry {seq} is neither in a finished segment nor in the journal")
                }),
            }
            if known.is_none() {
                all.push((kind, key, seq));
            }
        }
    }
    all.extend(journaled.into_iter().map(|((kind, key), seq)| (kind, key, seq)));
    all.retain(|(_, _, seq)| !ahead.contains(seq));
    all.append(&mut direct);
    Ok(all)
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
