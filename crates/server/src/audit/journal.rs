//! The journal as the auditor reads it: entries that their tables may not have yet, and the newest keys.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row};
use sha2::{Digest, Sha256};

use super::book::Book;
use super::{Findings, JOURNAL, KEYS};

/// Where the sequence number stands in an entry's canonical bytes: after the version.
const SEQ: std::ops::Range<usize> = 1..9;

/// The segment of keys that stand for something else than an entry.
const DIRECT: i64 = 0;

/// One row of the journal.
pub struct JournalRow {
    seq: i64,
    hash: Vec<u8>,
    canonical: Vec<u8>,
    key: Option<(i64, String)>,
}

/// The rows of each workspace, in order. They are few: what is older is only in its tables.
pub fn read(connection: &Connection) -> rusqlite::Result<HashMap<i64, Vec<Option<JournalRow>>>> {
    let mut statement = connection.prepare("select workspace, body from journal order by id")?;
    let mut rows = statement.query([])?;
    let mut journal: HashMap<i64, Vec<Option<JournalRow>>> = HashMap::new();
    while let Some(row) = rows.next()? {
        journal.entry(row.get(0)?).or_default().push(parse(row.get_ref(1)?.as_blob().unwrap_or_default()));
    }
    Ok(journal)
}

/// Note (a salt and six texts), key (kind, text, fingerprint), hash, and then the bytes that the chain covers.
fn parse(body: &[u8]) -> Option<JournalRow> {
    let mut rest = body;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    if take(1)? == [1] {
        take(16)?;
        for _ in 0..6 {
            let length = u32::from_be_bytes(take(4)?.try_into().ok()?);
            take(length as usize)?;
        }
    }
    let key = if take(1)? == [1] {
        let kind = i64::from(take(1)?[0]);
        let length = u32::from_be_bytes(take(4)?.try_into().ok()?);
        let text = String::from_utf8(take(length as usize)?.to_vec()).ok()?;
        take(16)?;
        Some((kind, text))
    } else {
        None
    };
    let (hash, canonical) = (take(32)?.to_vec(), rest.to_vec());
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
    rows: &[Option<JournalRow>],
    findings: &mut Findings,
) -> rusqlite::Result<Journaled> {
    let mut statement =
        connection.prepare_cached("select hash from entry where workspace = ?1 and seq = ?2")?;
    let (mut seq, mut hash, mut keys) = (book.seq, book.hash.clone(), BTreeMap::new());
    for row in rows {
        let Some(row) = row else {
            findings.broken(JOURNAL, format!("a row of the journal after entry {seq} cannot be read"));
            continue;
        };
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
    let mut next = connection.prepare("select min(segment) from request where segment > ?1")?;
    let mut filter = connection.prepare("select filter from request_segment where segment = ?1")?;
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
    let mut statement = connection
        .prepare_cached("select kind, key, seq from request where segment = ?1 and workspace = ?2")?;
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
