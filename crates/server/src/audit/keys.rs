//! Idempotency keys as the auditor reads them: all segments in step with the workspaces, and their filters made anew.
//!
//! Owns the documented form of a segment: rows of keys in the order of their workspace and of the first sixteen bytes of the
//! SHA-256 of their name (workspace, kind, text), each row under that of its first key. Only one row of each segment is in memory, and the filter that its keys make.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::bytes::Rest;
use super::journal::Said;
use super::reader::{Read, Reader, Rows, Statement};
use super::{Findings, KEYS, PLACE, WORKSPACE};

/// The segment of keys that stand for something else than an entry.
const DIRECT: i64 = 0;
/// How many rows of a segment are asked for at a time, and how many filters.
const PAGE: i32 = 4;
/// Bytes of a filter for each key, now and in the first version, and of a block, in which all bits of a key are.
const EACH: [usize; 2] = [4, 2];
const BLOCK: usize = 64;
/// Where the text begins in a name: after the workspace and the kind.
const TEXT: usize = 9;

/// A segment that is known: the length of its filter and the filter's SHA-256, where it is finished.
type Known = Option<(usize, [u8; 32])>;

/// The segments of a partition, with what their keys come from.
pub struct Segments<'a>(Vec<(i64, Known, Statement<'a>)>);

/// All keys of a partition, read in step with the workspaces.
pub struct Keys<'s> {
    segments: Vec<Segment<'s>>,
    place: (i64, i64),
    /// The segment whose key was given out.
    given: Option<usize>,
    /// The workspace whose keys are asked for, and the first segment that may have more of them.
    here: (i64, usize),
}

struct Segment<'s> {
    number: i64,
    finished: Known,
    rows: Rows<'s>,
    /// The row that is in memory, and how far it was read.
    row: Vec<u8>,
    at: usize,
    /// The key that is next, unless there is none.
    workspace: i64,
    name: Vec<u8>,
    made: ([u8; 16], i64),
    ended: bool,
    count: usize,
    filter: Vec<u8>,
}

/// A key in a segment.
pub struct Key<'k> {
    segment: i64,
    finished: bool,
    /// Kind and text.
    name: &'k [u8],
    fingerprint: [u8; 16],
    seq: i64,
}

/// Finds the segments, from one to the next without reading the keys.
pub fn segments(reader: Reader<'_>, partition: i64) -> Read<Segments<'_>> {
    let mut known: BTreeMap<i64, Known> = BTreeMap::new();
    let next = "select min(segment) from request where partition = {partition} and segment > ?1";
    let (mut next, mut segment) = (reader.prepare(next, partition)?, i64::MIN);
    loop {
        let found = match next.rows(&[segment])?.next()? {
            Some(row) => row.get::<Option<i64>>(0)?,
            None => None,
        };
        let Some(found) = found else { break };
        known.insert(found, None);
        segment = found;
    }
    let filters =
        "select segment, filter from request_segment where partition = {partition} order by segment";
    let mut filters = reader.prepare(filters, partition)?;
    let mut filters = filters.pages(&[], PAGE)?;
    while let Some(row) = filters.next()? {
        let filter = row.get::<Vec<u8>>(1)?;
        known.insert(row.get(0)?, Some((filter.len(), Sha256::digest(&filter).into())));
    }
    let mut segments = Vec::new();
    for (number, finished) in known {
        let keys = format!(
            "select first, keys from request where partition = {{partition}} and segment = {number} order by first"
        );
        segments.push((number, finished, reader.prepare(&keys, partition)?));
    }
    Ok(Segments(segments))
}

impl Segments<'_> {
    /// Begins to read them. They are numbered without a gap, and only the last one may be unfinished.
    pub fn open(&mut self, place: (i64, i64), findings: &mut Findings) -> Read<Keys<'_>> {
        findings.workspace = 0;
        let count = self.0.iter().filter(|segment| segment.0 != DIRECT).count();
        let mut segments = Vec::new();
        let mut expected = 1;
        for (number, finished, statement) in &mut self.0 {
            let (number, finished) = (*number, *finished);
            if number != DIRECT {
                findings.check(number == expected && (finished.is_some() || expected == count as i64), KEYS, || {
                    format!("segment {number} of keys stands where segment {expected} should, or was never finished")
                });
                expected = number.saturating_add(1);
            }
            let length = finished.map_or(0, |finished| finished.0);
            segments.push(Segment {
                number,
                finished,
                rows: statement.pages(&[], PAGE)?,
                row: Vec::new(),
                at: 0,
                workspace: 0,
                name: Vec::new(),
                made: ([0; 16], 0),
                ended: false,
                count: 0,
                filter: vec![0; length],
            });
        }
        for segment in &mut segments {
            segment.advance(findings)?;
        }
        Ok(Keys { segments, place, given: None, here: (i64::MIN, 0) })
    }
}

impl Keys<'_> {
    /// The next key of a workspace. Those of workspaces before it are passed over: they are of none in this partition.
    pub fn next(&mut self, workspace: i64, known: &[i64], findings: &mut Findings) -> Read<Option<Key<'_>>> {
        if let Some(given) = self.given.take() {
            self.segments[given].advance(findings)?;
        }
        let from = if self.here.0 == workspace { self.here.1 } else { 0 };
        for (index, segment) in self.segments.iter_mut().enumerate().skip(from) {
            while !segment.ended && segment.workspace < workspace {
                segment.stray(self.place, known, findings)?;
            }
            if !segment.ended && segment.workspace == workspace {
                (self.given, self.here) = (Some(index), (workspace, index));
                return Ok(Some(self.segments[index].key()));
            }
        }
        Ok(None)
    }

    /// Reads what is left, after the last workspace.
    pub fn rest(mut self, known: &[i64], findings: &mut Findings) -> Read<()> {
        if let Some(given) = self.given.take() {
            self.segments[given].advance(findings)?;
        }
        for segment in &mut self.segments {
            while !segment.ended {
                segment.stray(self.place, known, findings)?;
            }
        }
        Ok(())
    }
}

impl Segment<'_> {
    /// Passes over a key of a workspace that is not here, and reports it.
    fn stray(
        &mut self,
        (partition, partitions): (i64, i64),
        known: &[i64],
        findings: &mut Findings,
    ) -> Read<()> {
        let before = std::mem::replace(&mut findings.workspace, self.workspace);
        findings.check(self.workspace.rem_euclid(partitions) == partition, PLACE, || {
            format!("keys in segment {} are in partition {partition} of {partitions}", self.number)
        });
        // One that was read already has keys out of order.
        findings.check(known.binary_search(&self.workspace).is_ok(), WORKSPACE, || {
            format!("keys in segment {} belong to a workspace that does not exist", self.number)
        });
        findings.workspace = before;
        self.advance(findings)
    }

    fn key(&self) -> Key<'_> {
        let (fingerprint, seq) = self.made;
        let finished = self.finished.is_some();
        Key { segment: self.number, finished, name: &self.name[TEXT - 1..], fingerprint, seq }
    }

    /// Reads the next key, over whatever cannot be read.
    fn advance(&mut self, findings: &mut Findings) -> Read<()> {
        while !self.ended {
            if self.at < self.row.len() {
                if self.read_key(findings) {
                    return Ok(());
                }
                continue;
            }
            let Some(row) = self.rows.next()? else {
                self.end(findings);
                return Ok(());
            };
            let first: Vec<u8> = row.get(0)?;
            (self.row, self.at) = (row.get(1)?, 0);
            let begins = Rest(&self.row).blob().is_some_and(|name| order(name) == first);
            told(self.number, findings, begins, "a row does not begin with the key it is under");
        }
        Ok(())
    }

    fn read_key(&mut self, findings: &mut Findings) -> bool {
        let mut rest = Rest(&self.row[self.at..]);
        let mut parse = || {
            let (name, fingerprint, seq) = (rest.blob()?, rest.array()?, rest.int()?);
            std::str::from_utf8(name.get(TEXT..)?).ok()?;
            Some((i64::from_be_bytes(*name.first_chunk()?), name, fingerprint, seq))
        };
        let Some((workspace, name, fingerprint, seq)) = parse() else {
            self.at = self.row.len();
            told(self.number, findings, false, "a key cannot be read");
            return false;
        };
        let rises = self.count == 0 || order(name) > order(&self.name);
        self.name.clear();
        self.name.extend(name);
        (self.workspace, self.made) = (workspace, (fingerprint, seq));
        self.at = self.row.len() - rest.0.len();
        self.count += 1;
        told(self.number, findings, rises, "a key is out of order");
        if self.finished.is_some() {
            add(&mut self.filter, &self.name);
        }
        true
    }

    /// The filter is what the keys make it: a key that was taken out was named by bits that nothing else explains.
    fn end(&mut self, findings: &mut Findings) {
        self.ended = true;
        let Some((length, digest)) = self.finished else { return };
        let filter = std::mem::take(&mut self.filter);
        let long = |each: usize| length == BLOCK << (self.count * each / BLOCK).max(1).ilog2();
        let same = self.count > 0 && EACH.into_iter().any(long) && digest == *Sha256::digest(&filter);
        findings.check(same, KEYS, || {
            format!("the filter of segment {} is not what its {} keys make", self.number, self.count)
        });
    }
}

fn told(segment: i64, findings: &mut Findings, holds: bool, what: &str) {
    findings.check(holds, KEYS, || format!("in segment {segment} of keys, {what}"));
}

/// Where a key stands in its segment.
fn order(name: &[u8]) -> Vec<u8> {
    let workspace = name.get(..TEXT - 1).unwrap_or_default();
    [workspace, &Sha256::digest(name)[..16]].concat()
}

/// Adds a key to a filter: the first eight bytes of its SHA-256 name a block, the next sixteen eight bits in it.
fn add(filter: &mut [u8], name: &[u8]) {
    let digest = Sha256::digest(name);
    let number = digest[..8].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    let start = (number % (filter.len() / BLOCK).max(1) as u64) as usize * BLOCK;
    let Some(block) = filter.get_mut(start..start + BLOCK) else { return };
    for two in digest[8..24].chunks(2) {
        let bit = (usize::from(two[0]) << 8 | usize::from(two[1])) % (BLOCK * 8);
        block[bit / 8] |= 1 << (bit % 8);
    }
}

/// Gives the keys of a workspace, in segments and in the journal, each with what it made; but for those of entries that are
/// not in their tables yet.
pub fn of(
    keys: &mut Keys<'_>,
    (workspace, known): (i64, &[i64]),
    Said { keys: journaled, ahead }: Said,
    findings: &mut Findings,
    mut each: impl FnMut((i64, &str, i64), &mut Findings),
) -> Read<()> {
    while let Some(key) = keys.next(workspace, known, findings)? {
        let Key { segment, finished, name, fingerprint, seq } = key;
        if segment == DIRECT {
            each(split(name, seq), findings);
            continue;
        }
        let journaled = journaled.get(name);
        findings.check(journaled.is_none_or(|made| *made == (seq, fingerprint)), KEYS, || {
            format!(
                "one key names entry {seq} in its segment and {:?} in the journal",
                journaled.map(|made| made.0)
            )
        });
        findings.check(finished || journaled.is_some(), KEYS, || {
            format!("the key of entry {seq} is neither in a finished segment nor in the journal")
        });
        if journaled.is_none() && !ahead.contains(&seq) {
            each(split(name, seq), findings);
        }
    }
    for (name, (seq, _)) in &journaled {
        if !ahead.contains(seq) {
            each(split(name, *seq), findings);
        }
    }
    Ok(())
}

/// Kind and text of a key that could be read.
fn split(name: &[u8], seq: i64) -> (i64, &str, i64) {
    let (kind, text) = name.split_first().unwrap_or((&0, &[]));
    (i64::from(*kind), std::str::from_utf8(text).unwrap_or_default(), seq)
}
