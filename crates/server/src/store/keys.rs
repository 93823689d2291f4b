//! Idempotency keys: which entry a caller's key made, for good, and as quickly when keys are random.
//!
//! Owns the rows of `request`. Random keys in one large index would cost a page each, so the newest are kept in memory (the
//! journal has them), and once there are enough of them they are written as a segment, by workspace and digest, many to a row. A
//! Bloom filter for each segment says which segments cannot have a key; nearly every new key is in none.
//!
//! Invariant: the key of an entry is in the journal until its whole segment, filter included, is committed.

mod filter;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use billing::Seq;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::batch::Batch;
use super::canonical::{Bytes, put_blob, put_int};
use super::committer::{Key, KeyKind};
use super::db::{Tx, Value};
use crate::values;
use filter::{Filter, Filters, Probes};

/// How many keys make a segment.
pub const SEGMENT: usize = 131_072;
/// How much may happen until a segment is made, however few keys came.
const MOST_WAIT: i64 = 4 * SEGMENT as i64;
/// How many keys are written into the segment for each that is added.
const WRITTEN_PER_KEY: usize = 2;
/// How many keys are in a row of a segment.
pub const TOGETHER: usize = 128;
/// The segment of keys that work of the store's own modules writes directly; they are few, and made no entry.
const DIRECT: i64 = 0;

/// A workspace, the kind of a command, and the caller's key for it.
pub type KeyName = (i64, KeyKind, Arc<str>);
/// A key's name, and where it belongs: that is hashed once, to look it up and to keep it.
pub struct Named {
    name: KeyName,
    place: Place,
}

/// What a key made: the digest of the command, and the entry.
pub type Made = ([u8; 16], Seq);

/// What a batch did for keys that were there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// The segment that was begun with all new keys until then; 0 for none.
    pub begun: i64,
    /// How many keys were written into the segment, in their order.
    pub keys: i64,
    /// Whether the segment is finished.
    pub finished: bool,
}

/// Keys in memory.
type Known = HashMap<Place, (KeyName, Made), foldhash::fast::RandomState>;

/// The keys of all entries of a partition.
pub struct Keys {
    partition: i64,
    young: Known,
    /// What is left to write of the segment that is being written, and in which order, the last one first.
    sealing: Known,
    order: Vec<Place>,
    filters: Filters,
    /// The journal has all keys of `young` after this row, and those of the segment being written after `sealing_after`.
    young_after: i64,
    sealing_after: i64,
    /// How many keys make a segment.
    enough: usize,
}

impl Named {
    /// Names a key of a workspace.
    pub fn new(workspace: i64, kind: KeyKind, key: &Arc<str>) -> Named {
        let name = (workspace, kind, key.clone());
        Named { place: Place::of(&name), name }
    }
}

impl Keys {
    /// Reads the filters. The newest keys come from the journal, which begins after `after`.
    pub fn load(tx: &Tx<'_>, partition: i64, after: i64, enough: usize) -> Result<Keys, Error> {
        let filters = "select filter from request_segment where partition = ?1 order by segment";
        let stored = tx.query(filters, values![partition], |row| Ok(Filter(row.blob(0)?)))?;
        let mut filters = Filters::default();
        filters.add(&stored);
        let (young, sealing, order) = (Known::default(), Known::default(), Vec::new());
        let (young_after, sealing_after) = (after, after);
        Ok(Keys { partition, young, sealing, order, filters, young_after, sealing_after, enough })
    }

    /// Keeps the key of an entry.
    pub fn add(&mut self, Named { name, place }: Named, made: Made) {
        self.young.insert(place, (name, made));
    }

    /// What a key made.
    pub fn find(&self, tx: &Tx<'_>, Named { name, place }: &Named) -> Result<Option<Made>, Error> {
        if let Some((_, made)) = self.young.get(place).or_else(|| self.sealing.get(place)) {
            return Ok(Some(*made));
        }
        for segment in self.filters.may_have(&place.probes()) {
            if let Some(made) = find_in(tx, self.partition, segment, name)? {
                return Ok(Some(made));
            }
        }
        Ok(None)
    }

    /// Ends a batch that added so many keys and becomes the row `id` of the journal, after the row `last`: writes a part of
    /// the segment, and begins one when there are enough keys for it.
    pub fn seal(&mut self, tx: &Tx<'_>, added: usize, (last, id): (i64, i64)) -> Result<Sealed, Error> {
        if self.young.is_empty() {
            self.young_after = last;
        }
        let mut sealed = Sealed::default();
        // The journal must not grow for the sake of a few keys.
        let enough = self.young.len() >= self.enough || id - self.young_after > MOST_WAIT;
        if !self.filters.is_open() && enough && !self.young.is_empty() {
            sealed.begun = self.filters.count() + 1;
            self.begin(id);
        }
        if !self.filters.is_open() {
            return Ok(sealed);
        }
        let (partition, segment) = (self.partition, self.filters.count());
        let part = self.take((added * WRITTEN_PER_KEY).max(16));
        sealed.keys = part.len() as i64;
        let rows = part.chunks(TOGETHER).map(|keys| row_of(partition, segment, keys));
        tx.insert_all(INSERT, rows)?;
        if self.sealing.is_empty() {
            let filter = self.filters.last().expect("made when the segment was begun");
            tx.send(
                "insert into request_segment (partition, segment, filter) values (?1, ?2, ?3)",
                values![partition, segment, &filter.0],
            )?;
            self.filters.finish();
            sealed.finished = true;
        }
        Ok(sealed)
    }

    /// Up to which of these rows all keys are in segments that are finished.
    pub fn in_segments<'s>(&self, rows: impl Iterator<Item = (i64, &'s Sealed)>) -> i64 {
        let finished = 1..=self.filters.finished();
        rows.filter(|(_, sealed)| finished.contains(&sealed.begun)).map(|row| row.0).max().unwrap_or(0)
    }

    /// Does to what is in memory what another node, or an earlier run, did in the row `id`.
    pub fn follow(&mut self, sealed: &Sealed, (last, id): (i64, i64)) {
        if self.young.is_empty() {
            self.young_after = last;
        }
        if sealed.begun > self.filters.count() {
            self.begin(id);
        } else if sealed.begun > 0 {
            // That segment was finished before this node looked.
            self.young.clear();
            self.young_after = id;
        }
        if self.filters.is_open() {
            self.take(usize::try_from(sealed.keys).unwrap_or(0));
            if sealed.finished {
                self.filters.finish();
            }
        }
    }

    fn begin(&mut self, id: i64) {
        self.filters.begin(self.young.len());
        // Everything of the segment before was written, and its room is used again: making that anew takes long.
        std::mem::swap(&mut self.sealing, &mut self.young);
        self.young.clear();
        self.order = self.sealing.keys().copied().collect();
        self.order.sort_unstable_by(|a, b| b.cmp(a));
        (self.sealing_after, self.young_after) = (self.young_after, id);
    }

    /// The next keys of the segment, which its filter knows from now on.
    fn take(&mut self, count: usize) -> Vec<(Place, (KeyName, Made))> {
        let next = || self.order.pop().and_then(|place| self.sealing.remove_entry(&place));
        let part: Vec<_> = std::iter::from_fn(next).take(count).collect();
        if let Some(filter) = self.filters.last() {
            part.iter().for_each(|(place, _)| filter.add(&place.probes()));
        }
        part
    }

    /// The last row of the journal that is not needed: the keys of those after it may not be in a finished segment.
    pub fn unneeded(&self) -> i64 {
        if self.filters.is_open() { self.sealing_after } else { self.young_after }
    }
}

const ROW: &str = "select keys from request where partition = ?1 and segment = ?2 and first <= ?3";
const FINISHED: &str = "exists (select 1 from request_segment s where s.partition = ?1 and s.segment = ?2)";
const INSERT: &str = "insert into request (partition, segment, first, keys) values (?1, ?2, ?3, ?4)";

fn find_in(tx: &Tx<'_>, partition: i64, segment: i64, name: &KeyName) -> Result<Option<Made>, Error> {
    let first = Place::of(name).first();
    let (place, order) = (values![partition, segment, &first], "order by first desc limit 1");
    // A finished segment never changes, and its filter is written last: whoever sees that sees all of the segment.
    let mut row = match tx.aside().filter(|_| segment != DIRECT) {
        Some(aside) => aside.one(&format!("{ROW} and {FINISHED} {order}"), place, |row| row.blob(0))?,
        None => None,
    };
    if row.is_none() {
        row = tx.one(&format!("{ROW} {order}"), place, |row| row.blob(0))?;
    }
    let (name, row) = (name_bytes(name), row.unwrap_or_default());
    let mut bytes = Bytes(&row);
    while !bytes.0.is_empty() {
        let found =
            read_key(&mut bytes).ok_or_else(|| Error::Unavailable("a key cannot be read".to_owned()))?;
        if found.0 == name {
            return Ok(Some(found.1));
        }
    }
    Ok(None)
}

/// Where a key belongs: its workspace, and three quarters of a SHA-256, which in memory stand for the key itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place(i64, [u8; 24]);

impl Hash for Place {
    /// What is a digest already need not be hashed as a whole.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.first_word());
    }
}

impl Place {
    fn of((workspace, kind, key): &KeyName) -> Place {
        let hash = Sha256::new().chain_update(workspace.to_be_bytes()).chain_update([*kind as u8]);
        let hash: [u8; 32] = hash.chain_update(key.as_bytes()).finalize().into();
        Place(*workspace, std::array::from_fn(|byte| hash[byte]))
    }

    /// Where its bits are in a filter. These are in databases, so they come from a hash that never changes.
    fn probes(&self) -> Probes {
        let bit = |index: usize| u16::from_be_bytes([self.1[8 + 2 * index], self.1[9 + 2 * index]]) % 512;
        Probes(self.first_word(), std::array::from_fn(bit))
    }

    fn first_word(&self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|byte| self.1[byte]))
    }

    /// What a row that begins with it is under: the workspace, and half a SHA-256.
    fn first(&self) -> Vec<u8> {
        [&self.0.to_be_bytes()[..], &self.1[..16]].concat()
    }
}

/// A key's name as bytes: the workspace, the kind, the text.
fn name_bytes((workspace, kind, key): &KeyName) -> Vec<u8> {
    [&workspace.to_be_bytes()[..], &[*kind as u8], key.as_bytes()].concat()
}

/// Keys that follow one another, as a row: the place of the first, then of each its name, what it stands for and what it made.
fn row_of<'v>(partition: i64, segment: i64, keys: &[(Place, (KeyName, Made))]) -> [Value<'v>; 4] {
    let mut bytes = Vec::with_capacity(80 * keys.len());
    for (_, (name, (fingerprint, seq))) in keys {
        put_blob(&mut bytes, &name_bytes(name));
        bytes.extend(fingerprint);
        put_int(&mut bytes, seq.0);
    }
    let first = keys.first().map(|key| key.0.first()).unwrap_or_default();
    [partition.into(), segment.into(), first.into(), bytes.into()]
}

fn read_key<'k>(bytes: &mut Bytes<'k>) -> Option<(&'k [u8], Made)> {
    Some((bytes.blob()?, (bytes.array()?, Seq(bytes.int()?))))
}

/// What a key made that stands for something else than an entry.
pub fn find_direct(batch: &Batch<'_>, workspace: i64, key: &Key) -> Result<Option<Made>, Error> {
    find_in(&batch.tx, batch.partition(), DIRECT, &(workspace, key.kind, key.key.clone()))
}

/// Remembers a key that stands for something else than an entry.
pub fn insert_direct(batch: &Batch<'_>, workspace: i64, key: &Key, made: i64) -> Result<(), Error> {
    let name = (workspace, key.kind, key.key.clone());
    let key = (Place::of(&name), (name, (key.fingerprint, Seq(made))));
    let row = row_of(batch.partition(), DIRECT, &[key]);
    batch.tx.execute(INSERT, &row).map(drop)
}

/// Forgets a key that stands for something else than an entry, which was undone.
pub fn remove_direct(batch: &Batch<'_>, workspace: i64, key: &Key) -> Result<(), Error> {
    let first = Place::of(&(workspace, key.kind, key.key.clone())).first();
    batch.tx.execute(
        "delete from request where partition = ?1 and segment = ?2 and first = ?3",
        values![batch.partition(), DIRECT, &first],
    )?;
    Ok(())
}
