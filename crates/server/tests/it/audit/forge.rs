//! What a forger of a ledger can do: pages, keys and the journal are taken apart, changed and put together again, by a reading of
//! their bytes that neither the store nor the auditor has a part in.

use rusqlite::Connection;
use scrip::store::{Place, database_file};
use sha2::{Digest, Sha256};

use super::form::{Bytes, Entry, put_blob, put_int};
use crate::temp::{Directory, administer};

/// What the corruptions say in SQLite's words.
const SPOKEN: &str = "
    create domain blob as bytea;
    create function instr(bytea, blob) returns integer language sql as $$ select position($2 in $1) $$;
    create function unhex(text) returns bytea language sql as $$ select decode($1, 'hex') $$;
    create function hex(bytea) returns text language sql as $$ select encode($1, 'hex') $$;
    create function zeroblob(integer) returns bytea language sql as $$ select decode(repeat('00', $1), 'hex') $$;
    create function instr(text, text) returns integer language sql as $$ select strpos($1, $2) $$;";

/// A copy of a database, and the workspaces in it: the one with everything, and the one that is only there.
pub struct Forge<'d> {
    directory: &'d Directory,
    pub main: i64,
    pub other: i64,
}

/// The number of an entry, salt, and six texts.
pub type Note = (i64, [u8; 16], [Vec<u8>; 6]);

pub struct Page {
    seq: i64,
    pub entries: Vec<Entry>,
    pub notes: Vec<Note>,
}

/// All pages of one ledger.
pub struct Ledger(pub Vec<Page>);

/// A key: its name, the fingerprint, and what it made.
pub type Key = (Vec<u8>, [u8; 16], i64);

impl<'d> Forge<'d> {
    pub fn new(directory: &'d Directory, (main, other): (i64, i64)) -> Forge<'d> {
        if let Place::Postgres(server) = directory.place() {
            administer(&server.url, &[SPOKEN.to_owned()]);
        }
        Forge { directory, main, other }
    }

    fn partition(&self, workspace: i64) -> i64 {
        if self.directory.is_shared() { workspace.rem_euclid(3) } else { 0 }
    }

    /// Runs statements, in which the names in braces stand for what they say.
    pub fn run(&self, sql: &str) {
        let column = |text: String| if self.directory.is_shared() { text } else { String::new() };
        let (main, other) = (self.partition(self.main), self.partition(self.other));
        let sql = sql
            .replace("{main}", &self.main.to_string())
            .replace("{other}", &self.other.to_string())
            .replace("{at}", &main.to_string())
            .replace("{in main}", &column(format!("{main}, ")))
            .replace("{in other}", &column(format!("{other}, ")))
            .replace("{same}", &column("partition, ".to_owned()));
        match self.directory.place() {
            Place::Directory(path) => {
                let connection = Connection::open(database_file(&path)).expect("it opens");
                connection.execute_batch(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
                assert!(connection.total_changes() > 0, "nothing is changed by {sql}");
            }
            Place::Postgres(server) => drop(administer(&server.url, &[sql])),
        }
    }

    /// The bytes in the second column of these rows, each with the number in the first; all as one text for both engines.
    fn blobs(&self, columns: &str, from: &str) -> Vec<(i64, Vec<u8>)> {
        let rows = |join: &str| format!("select coalesce({join}, '') from (select {columns} {from}) t");
        let text = match self.directory.place() {
            Place::Directory(path) => {
                let connection = Connection::open(database_file(&path)).expect("it opens");
                let sql = rows("group_concat(n || ':' || hex(b), ' ')");
                connection.query_row(&sql, [], |row| row.get::<_, String>(0)).expect("rows")
            }
            Place::Postgres(server) => {
                let sql = rows("string_agg(n || ':' || hex(b), ' ')").replace("{at}", "0");
                administer(&server.url, &[sql]).expect("rows")
            }
        };
        let row = |word: &str| {
            let (number, hex) = word.split_once(':').expect("a number and bytes");
            let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            (number.parse().expect("a number"), (0..hex.len()).step_by(2).map(digits).collect())
        };
        let mut rows: Vec<_> = text.split_whitespace().map(row).collect();
        rows.sort();
        rows
    }

    /// The ledger of the main workspace.
    pub fn ledger(&self) -> Ledger {
        let from = format!("from page where workspace = {} order by seq", self.main);
        let (entries, notes) = (self.blobs("seq n, entries b", &from), self.blobs("seq n, notes b", &from));
        let page = |((seq, entries), (_, notes)): ((i64, Vec<u8>), (i64, Vec<u8>))| {
            let (mut entries, mut notes) = (Bytes(&entries), Bytes(&notes));
            let mut page = Page { seq, entries: Vec::new(), notes: Vec::new() };
            while !entries.0.is_empty() {
                page.entries.push(Entry::parse(entries.blob()));
            }
            while !notes.0.is_empty() {
                page.notes.push((notes.int(), notes.array(), std::array::from_fn(|_| notes.blob().to_vec())));
            }
            page
        };
        Ledger(entries.into_iter().zip(notes).map(page).collect())
    }

    /// Puts the pages back, and leaves their other columns as they are.
    pub fn put(&self, ledger: &Ledger) {
        for page in &ledger.0 {
            let (entries, notes) = (hex(&page.entries_bytes()), hex(&page.notes_bytes()));
            self.run(&format!(
                "update page set entries = unhex('{entries}'), notes = unhex('{notes}')
                 where workspace = {{main}} and seq = {}",
                page.seq
            ));
        }
    }

    /// Makes the chain anew, from the beginning to the account.
    pub fn chain(&self, ledger: &Ledger) {
        let mut hash: [u8; 32] = Sha256::digest(format!("scrip ledger 1 {}", self.main)).into();
        for page in &ledger.0 {
            for entry in &page.entries {
                hash = Sha256::new_with_prefix(hash).chain_update(entry.bytes()).finalize().into();
            }
            let (hash, seq) = (hex(&hash), page.seq);
            self.run(&format!(
                "update page set hash = unhex('{hash}') where workspace = {{main}} and seq = {seq};
                 update account set hash = unhex('{hash}') where workspace = {{main}}"
            ));
        }
    }

    /// Moves all keys of the main workspace's partition out of the journal into one segment of them, after `change`: the
    /// filter is the one of the keys before it.
    pub fn seal(&self, change: impl FnOnce(&mut Vec<Key>)) {
        self.seal_with(4, change);
    }

    /// The same with a filter of so many bytes for each key. Answers how long the filter is.
    pub fn seal_with(&self, each: usize, change: impl FnOnce(&mut Vec<Key>)) -> usize {
        let partition = self.partition(self.main);
        let from = format!("from journal where partition = {partition} order by id");
        let mut keys: Vec<Key> = Vec::new();
        self.blobs("id n, body b", &from).iter().for_each(|(_, body)| keys_of(body, &mut keys));
        keys.sort_by_key(|key| order(&key.0));
        assert!(keys.len() > 10, "there are keys");
        let mut filter = vec![0; 64 << (keys.len() * each / 64).max(1).ilog2()];
        keys.iter().for_each(|(name, ..)| add(&mut filter, name));
        change(&mut keys);
        self.run("delete from journal where partition = {at}");
        self.run(&format!("insert into request_segment values ({{at}}, 1, unhex('{}'))", hex(&filter)));
        keys.chunks(4).for_each(|keys| self.put_keys(1, keys));
        filter.len()
    }

    /// A row of keys.
    pub fn put_keys(&self, segment: i64, keys: &[Key]) {
        let mut bytes = Vec::new();
        for (name, fingerprint, seq) in keys {
            put_blob(&mut bytes, name);
            bytes.extend(fingerprint);
            put_int(&mut bytes, *seq);
        }
        let (first, keys) = (hex(&order(&keys[0].0)), hex(&bytes));
        self.run(&format!(
            "insert into request values ({{at}}, {segment}, unhex('{first}'), unhex('{keys}'))"
        ));
    }

    /// A key's name.
    pub fn name(&self, kind: u8, text: &str) -> Vec<u8> {
        [&self.main.to_be_bytes()[..], &[kind], text.as_bytes()].concat()
    }
}

impl Ledger {
    pub fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.0.iter_mut().flat_map(|page| &mut page.entries)
    }

    /// The first such entry.
    pub fn first(&mut self, is: impl Fn(&Entry) -> bool) -> &mut Entry {
        self.entries().find(|entry| is(entry)).expect("there is one")
    }

    pub fn at(&mut self, seq: i64) -> &mut Entry {
        self.first(|entry| entry.seq == seq)
    }

    pub fn last(&mut self) -> &mut Entry {
        self.entries().last().expect("there is one")
    }

    pub fn remove(&mut self, is: impl Fn(&Entry) -> bool) {
        let seq = self.first(is).seq;
        self.0.iter_mut().for_each(|page| page.entries.retain(|entry| entry.seq != seq));
    }

    /// The first page with such a note, and where in it.
    pub fn note(&mut self, is: impl Fn(&Note) -> bool) -> (&mut Page, usize) {
        let place = |page: &mut Page| page.notes.iter().position(&is);
        let found = self.0.iter_mut().find_map(|page| place(page).map(|index| (page, index)));
        found.expect("there is one")
    }
}

impl Page {
    fn entries_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.entries.iter().for_each(|entry| put_blob(&mut bytes, &entry.bytes()));
        bytes
    }

    fn notes_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (seq, salt, texts) in &self.notes {
            put_int(&mut bytes, *seq);
            bytes.extend(salt);
            texts.iter().for_each(|text| put_blob(&mut bytes, text));
        }
        bytes
    }
}

/// The keys of a row of the journal.
fn keys_of(body: &[u8], keys: &mut Vec<Key>) {
    let mut bytes = Bytes(body);
    bytes.array::<17>();
    for _ in 0..=bytes.int() {
        bytes.int();
        bytes.int();
        bytes.array::<1>();
    }
    while !bytes.0.is_empty() {
        let (workspace, mut entry) = (bytes.int(), Bytes(bytes.blob()));
        let [has] = entry.array();
        if has & 1 != 0 {
            entry.array::<16>();
            for _ in 0..6 {
                entry.blob();
            }
        }
        if has & 2 != 0 {
            let name = [&workspace.to_be_bytes()[..], &entry.array::<1>(), entry.blob()].concat();
            let fingerprint = entry.array();
            entry.array::<36>();
            keys.push((name, fingerprint, entry.int()));
        }
    }
}

/// Where a key stands among others: by its workspace, then by half a digest.
fn order(name: &[u8]) -> Vec<u8> {
    [&name[..8], &Sha256::digest(name)[..16]].concat()
}

fn add(filter: &mut [u8], name: &[u8]) {
    let digest = Sha256::digest(name);
    let block = u64::from_be_bytes(std::array::from_fn(|byte| digest[byte])) % (filter.len() / 64) as u64;
    for pair in 4..12 {
        let bit = usize::from(u16::from_be_bytes([digest[2 * pair], digest[2 * pair + 1]]) % 512);
        filter[block as usize * 64 + bit / 8] |= 1 << (bit % 8);
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
