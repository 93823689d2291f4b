//! The files of a directory as a recording leaves them: as the processes see them, and as they can be on the disk.
//!
//! Owns what a crash may leave. A kill leaves what is seen. A power cut leaves what was synced; of every write since, each sector
//! may be there, or not, or hold rubbish, in any order; and a name may be the one before, until its directory was synced.
//!
//! Invariant: bytes that were not part of a write are never changed by it. SQLite asks as much of a disk, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::{Change, Operation};

/// What a disk writes at once.
pub const SECTOR: usize = 512;

/// Where chance comes from: a number from 0 to below the argument.
pub type Luck<'a> = &'a mut dyn FnMut(u64) -> u64;

/// A directory's files. Cheap to clone as long as they are small.
#[derive(Clone, Debug, Default)]
pub struct Files {
    files: Vec<File>,
    /// Which file has which name, for processes.
    seen: BTreeMap<String, usize>,
    /// The same, when the directory was synced last.
    durable: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write(u64, Arc<[u8]>),
    Truncate(u64),
}

/// What becomes of a file's unsynced changes in a power cut.
#[derive(Clone, Copy)]
enum Fate {
    AllKept,
    AllLost,
    /// The disk wrote in order and was interrupted.
    InOrder,
    /// Each by itself, but in order.
    Picked,
    /// Each by itself, in any order.
    Shuffled,
}

impl Files {
    /// Takes the next operation. `honest` says of which files a sync is what it says.
    pub fn apply(&mut self, operation: &Operation, honest: impl Fn(&str) -> bool) {
        let name = operation.file.as_str();
        match &operation.change {
            Change::Create => {
                self.seen.insert(name.to_owned(), self.files.len());
                self.files.push(File::default());
            }
            Change::Write(at, bytes) => self.file(name).change(Pending::Write(*at, bytes.clone())),
            Change::Truncate(length) => self.file(name).change(Pending::Truncate(*length)),
            Change::Sync if honest(name) => self.file(name).sync(),
            Change::Sync => {}
            Change::SyncFailed => self.file(name).pending.clear(),
            Change::SyncDirectory => self.durable = self.seen.clone(),
            Change::Delete => drop(self.seen.remove(name)),
        }
    }

    fn file(&mut self, name: &str) -> &mut File {
        let index = self.seen.get(name).expect("a file is made before it is written");
        &mut self.files[*index]
    }

    /// What processes see, as a kill leaves it.
    pub fn killed(&self) -> BTreeMap<&str, &[u8]> {
        self.seen.iter().map(|(name, index)| (name.as_str(), self.files[*index].seen.as_slice())).collect()
    }

    /// What can be on the disk after a power cut.
    pub fn cut(&self, luck: Luck<'_>) -> BTreeMap<&str, Vec<u8>> {
        let names: BTreeSet<&String> = self.seen.keys().chain(self.durable.keys()).collect();
        let mut left = BTreeMap::new();
        for name in names {
            let (seen, durable) = (self.seen.get(name), self.durable.get(name));
            let index = if luck(2) == 0 { seen } else { durable };
            if let Some(index) = index {
                left.insert(name.as_str(), self.files[*index].cut(luck));
            }
        }
        left
    }

    /// These files, all of them on the disk.
    pub fn settled(left: &BTreeMap<&str, impl AsRef<[u8]>>) -> Files {
        let mut files = Files::default();
        for (index, (name, bytes)) in left.iter().enumerate() {
            let bytes = bytes.as_ref().to_vec();
            files.files.push(File { seen: bytes.clone(), durable: bytes, pending: Vec::new() });
            files.seen.insert((*name).to_owned(), index);
        }
        files.durable = files.seen.clone();
        files
    }
}

/// Writes files into a directory.
///
/// # Panics
/// When the real disk does not take them.
pub fn put(directory: &Path, left: &BTreeMap<&str, impl AsRef<[u8]>>) {
    for (name, bytes) in left {
        std::fs::write(directory.join(name), bytes).expect("the image is written");
    }
}

impl File {
    fn change(&mut self, pending: Pending) {
        pending.apply(&mut self.seen);
        self.pending.push(pending);
    }

    fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            pending.apply(&mut self.durable);
        }
    }

    fn cut(&self, luck: Luck<'_>) -> Vec<u8> {
        let fates = [Fate::AllKept, Fate::AllLost, Fate::InOrder, Fate::Picked, Fate::Shuffled];
        let fate = fates[luck(fates.len() as u64) as usize];
        let mut bytes = self.durable.clone();
        // A length is changed in the order in which it was asked for, between the writes before and after.
        let is_truncate = |pending: &Pending| matches!(pending, Pending::Truncate(_));
        for group in self.pending.split_inclusive(is_truncate) {
            let mut group: Vec<&Pending> = group.iter().collect();
            let end = group.pop_if(|last| is_truncate(last));
            let mut kept = group.len();
            match fate {
                Fate::AllLost => kept = 0,
                Fate::InOrder => kept = luck(group.len() as u64 + 1) as usize,
                Fate::Shuffled => shuffle(&mut group, luck),
                Fate::AllKept | Fate::Picked => {}
            }
            let whole = matches!(fate, Fate::AllKept | Fate::InOrder);
            for pending in &group[..kept] {
                if whole { pending.apply(&mut bytes) } else { pending.tear(&mut bytes, luck) }
            }
            // The write at which it was interrupted.
            if let Some(last) = group.get(kept).filter(|_| whole) {
                last.tear(&mut bytes, luck);
            }
            match end {
                Some(end) if matches!(fate, Fate::AllKept) || luck(2) == 0 => end.apply(&mut bytes),
                _ => {}
            }
            if matches!(fate, Fate::InOrder) && kept < group.len() {
                break;
            }
        }
        bytes
    }
}

impl Pending {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Pending::Write(at, bytes) => put_at(file, *at as usize, bytes),
            Pending::Truncate(length) => file.resize(*length as usize, 0),
        }
    }

    /// It is there, or not, or some of its sectors are, one of which may hold rubbish.
    fn tear(&self, file: &mut Vec<u8>, luck: Luck<'_>) {
        let Pending::Write(at, bytes) = self else { return };
        match luck(3) {
            0 => {}
            1 => put_at(file, *at as usize, bytes),
            _ => {
                let (mut at, mut rest) = (*at as usize, &bytes[..]);
                while !rest.is_empty() {
                    let (sector, after) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                    // What is written over itself cannot become anything else.
                    let same = file.get(at..at + sector.len()) == Some(sector);
                    match luck(16) {
                        0 if !same => put_at(file, at, &vec![luck(256) as u8; sector.len()]),
                        1..=8 => put_at(file, at, sector),
                        _ => {}
                    }
                    (at, rest) = (at + sector.len(), after);
                }
            }
        }
    }
}

fn put_at(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

fn shuffle<T>(all: &mut [T], luck: Luck<'_>) {
    for index in (1..all.len()).rev() {
        all.swap(index, luck(index as u64 + 1) as usize);
    }
}
