//! Idempotency keys: which entry a caller's key made, for good, and as quickly when keys are random.
//!
//! Owns the rows of `request`. Random keys in one large index would cost a page each, so the newest are kept in memory (the
//! journal has them), and once there are enough of them they are written as a segment, in order. A Bloom filter for each
//! segment says which segments cannot have a key; nearly every new key is in none.
//!
//! Invariant: the key of an entry is in the journal until its whole segment, filter included, is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use billing::Seq;
use sha2::{Digest, Sha256};

use super::Error;
use super::committer::{Key, KeyKind};
use super::db::Tx;
use crate::values;

/// How many keys make a segment.
pub const SEGMENT: usize = 65_536;
/// How many rows of the journal make a segment, however few keys are in them.
const MOST_ROWS: i64 = 4 * SEGMENT as i64;
/// How many keys are written into the segment for each that is added.
const WRITTEN_PER_KEY: usize = 2;
/// Bits of a filter for each key: with eight probes, one key in 1,700 is looked up in a segment in vain.
const BITS: usize = 16;
/// The segment of keys that work of the store's own modules writes directly; they are few, and made no entry.
const DIRECT: i64 = 0;

/// A workspace, the kind of a command, and the caller's key for it.
pub type KeyName = (i64, KeyKind, Arc<str>);
/// What a key made: the digest of the command, and the entry.
pub type Made = ([u8; 16], Seq);

/// The keys of all entries.
pub struct Keys {
    young: BTreeMap<KeyName, Made>,
    /// What is left to write of the segment that is being written.
    sealing: BTreeMap<KeyName, Made>,
    /// The filters of the segments 1, 2, 3, …; the last one may be of the segment that is being written.
    filters: Vec<Filter>,
    is_sealing: bool,
    /// The journal has all keys of `young` from here on, and those of the segment being written from `sealing_from`.
    young_from: i64,
    sealing_from: i64,
    /// How many keys make a segment.
    enough: usize,
}

impl Keys {
    /// Reads the filters. The newest keys come from the journal, which begins at `from`.
    pub fn load(tx: &Tx<'_>, from: i64, enough: usize) -> Result<Keys, Error> {
        let filters = tx.query("select filter from request_segment order by segment", &[], |row| {
            Ok(Filter(row.blob(0)?))
        })?;
        let (young, sealing) = (BTreeMap::new(), BTreeMap::new());
        let (is_sealing, young_from, sealing_from) = (false, from, from);
        Ok(Keys { young, sealing, filters, is_sealing, young_from, sealing_from, enough })
    }

    /// Keeps the key of an entry.
    pub fn add(&mut self, workspace: i64, key: &Key, seq: Seq) {
        self.young.insert((workspace, key.kind, key.key.clone()), (key.fingerprint, seq));
    }

    /// What a key made.
    pub fn find(
        &self,
        tx: &Tx<'_>,
        workspace: i64,
        kind: KeyKind,
        key: &Arc<str>,
    ) -> Result<Option<Made>, Error> {
        let name = (workspace, kind, key.clone());
        if let Some(made) = self.young.get(&name).or_else(|| self.sealing.get(&name)) {
            return Ok(Some(*made));
        }
        let probes = probes(&name);
        for (filter, segment) in self.filters.iter().zip(1..) {
            if filter.may_have(&probes)
                && let Some(made) = find_in(tx, segment, &name)?
            {
                return Ok(Some(made));
            }
        }
        Ok(None)
    }

    /// Ends a batch that added so many keys: writes a part of the segment, and begins one when there are enough keys for it.
    /// `next` is where the journal goes on.
    pub fn seal(&mut self, tx: &Tx<'_>, added: usize, next: i64) -> Result<(), Error> {
        if self.young.is_empty() {
            self.young_from = next;
        }
        // The journal must not grow for the sake of a few keys.
        let enough = self.young.len() >= self.enough || next - self.young_from > MOST_ROWS;
        if !self.is_sealing && enough && !self.young.is_empty() {
            self.filters.push(Filter::new(self.young.len()));
            self.sealing = std::mem::take(&mut self.young);
            (self.sealing_from, self.young_from, self.is_sealing) = (self.young_from, next, true);
        }
        if !self.is_sealing {
            return Ok(());
        }
        let segment = self.filters.len() as i64;
        let filter = self.filters.last_mut().expect("pushed when the segment was begun");
        for _ in 0..(added * WRITTEN_PER_KEY).max(16) {
            let Some((name, made)) = self.sealing.pop_first() else { break };
            filter.add(&probes(&name));
            insert_in(tx, segment, &name, &made)?;
        }
        if self.sealing.is_empty() {
            tx.execute(
                "insert into request_segment (segment, filter) values (?1, ?2)",
                values![segment, &filter.0],
            )?;
            self.is_sealing = false;
        }
        Ok(())
    }

    /// The first row of the journal whose key may not be in a finished segment.
    pub fn needed(&self) -> i64 {
        if self.is_sealing { self.sealing_from } else { self.young_from }
    }
}

fn find_in(tx: &Tx<'_>, segment: i64, (workspace, kind, key): &KeyName) -> Result<Option<Made>, Error> {
    tx.one(
        "select fingerprint, seq from request where segment = ?1 and workspace = ?2 and kind = ?3 and key = ?4",
        values![segment, workspace, *kind as i64, &**key],
        |row| Ok((row.blob(0)?.try_into().unwrap_or([0; 16]), Seq(row.int(1)?))),
    )
}

fn insert_in(
    tx: &Tx<'_>,
    segment: i64,
    (workspace, kind, key): &KeyName,
    (fingerprint, seq): &Made,
) -> Result<(), Error> {
    // A segment that a crash left half-written is written again; its keys are the same.
    tx.execute(
        "insert into request (segment, workspace, kind, key, fingerprint, seq) values (?1, ?2, ?3, ?4, ?5, ?6)
         on conflict (segment, workspace, kind, key) do nothing",
        values![segment, workspace, *kind as i64, &**key, fingerprint, *seq],
    )?;
    Ok(())
}

/// What a key made that stands for something else than an entry.
pub fn find_direct(tx: &Tx<'_>, workspace: i64, key: &Key) -> Result<Option<Made>, Error> {
    find_in(tx, DIRECT, &(workspace, key.kind, key.key.clone()))
}

/// Remembers a key that stands for something else than an entry.
pub fn insert_direct(tx: &Tx<'_>, workspace: i64, key: &Key, made: i64) -> Result<(), Error> {
    let name = (workspace, key.kind, key.key.clone());
    insert_in(tx, DIRECT, &name, &(key.fingerprint, Seq(made)))
}

/// A Bloom filter: a power of two of bits.
struct Filter(Vec<u8>);

impl Filter {
    fn new(keys: usize) -> Filter {
        Filter(vec![0; (keys * BITS).next_power_of_two() / 8])
    }

    fn add(&mut self, probes: &[u32; 8]) {
        for probe in probes {
            let (byte, bit) = self.place(*probe);
            self.0[byte] |= bit;
        }
    }

    fn may_have(&self, probes: &[u32; 8]) -> bool {
        !self.0.is_empty()
            && probes.iter().all(|probe| {
                let (byte, bit) = self.place(*probe);
                self.0[byte] & bit != 0
            })
    }

    fn place(&self, probe: u32) -> (usize, u8) {
        let bit = probe as usize & (self.0.len() * 8 - 1);
        (bit / 8, 1 << (bit % 8))
    }
}

/// Eight independent numbers for a key; they are in databases, so they come from a hash that never changes.
fn probes((workspace, kind, key): &KeyName) -> [u32; 8] {
    let mut hash = Sha256::new_with_prefix(workspace.to_be_bytes());
    hash.update([*kind as u8]);
    hash.update(key.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|index| u32::from_be_bytes(std::array::from_fn(|byte| digest[index * 4 + byte])))
}

#[cfg(test)]
mod tests {
    use super::super::db::in_memory;
    use super::*;

    fn key(number: usize) -> Key {
        Key { kind: KeyKind::Hold, key: format!("key {number}").into(), fingerprint: [number as u8; 16] }
    }

    fn found(keys: &Keys, tx: &Tx<'_>, range: std::ops::Range<usize>) -> Vec<usize> {
        let find = |number: &usize| {
            let found = keys.find(tx, 7, KeyKind::Hold, &key(*number).key).expect("a look-up");
            assert!(found.is_none_or(|made| made == ([*number as u8; 16], Seq(*number as i64))));
            found.is_some()
        };
        range.filter(find).collect()
    }

    /// Segments of 100 keys, 60 keys a batch: whatever is written, being written or new is found, and nothing else is; and
    /// after a crash, with what the journal still has.
    #[test]
    fn keys_are_found_whatever_segment_they_are_in() {
        let connection = in_memory();
        let tx = Tx(&connection);
        let mut keys = Keys::load(&tx, 1, 100).expect("no keys");
        for batch in 0..20 {
            let (first, next) = (batch * 60, batch * 60 + 60);
            (first..next).for_each(|number| keys.add(7, &key(number), Seq(number as i64)));
            // In this journal a row is a key, and the first row is 1.
            keys.seal(&tx, 60, next as i64 + 1).expect("written");
            assert_eq!(found(&keys, &tx, 0..next + 50), (0..next).collect::<Vec<_>>());
            let kept = keys.needed();
            assert!(kept > 0 && next as i64 - kept < 300, "batch {batch}: the journal begins at {kept}");
            // After a crash the journal says the newest again.
            let mut again = Keys::load(&tx, kept, 100).expect("filters");
            (kept as usize - 1..next).for_each(|number| again.add(7, &key(number), Seq(number as i64)));
            assert_eq!(found(&again, &tx, 0..next + 50), (0..next).collect::<Vec<_>>());
            if batch % 3 == 0 {
                keys = again;
            }
        }
        assert!(keys.filters.len() >= 8, "{} segments", keys.filters.len());
        assert_eq!(keys.find(&tx, 8, KeyKind::Hold, &key(3).key).expect("a look-up"), None);
        assert_eq!(keys.find(&tx, 7, KeyKind::Charge, &key(3).key).expect("a look-up"), None);
    }
}
