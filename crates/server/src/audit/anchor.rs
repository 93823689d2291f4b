//! Heads of all chains, kept outside of the database: what shows that a whole ledger was exchanged for another one.
//!
//! Owns the anchor file. A chain proves that nothing in it was changed alone; whoever can write all of it can make it anew, or
//! put an older copy in its place. A head that was written down elsewhere must still be there.
//!
//! Invariant: the file is replaced as a whole, and only after a clean audit that found every head of it.
//!
//! `scrip anchor 1 partitions 4 at MOMENT`, then for each workspace, in the order of partition and workspace, `ID SEQ HASH`,
//! then `end COUNT SHA-256` over all bytes before it. A workspace without entries has its chain's beginning as entry 0.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read as _, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::reader::{Read, Unread};
use super::{ANCHOR, Findings};

/// No line is longer.
const LINE: u64 = 200;

/// The heads of an earlier audit, read in step with the workspaces, and the file that will replace them.
pub struct Anchor {
    path: PathBuf,
    old: Option<Heads>,
    new: BufWriter<File>,
    new_path: PathBuf,
    written: Sha256,
    count: u64,
}

/// A head that must be found.
pub struct Head {
    workspace: i64,
    seq: i64,
    hash: Vec<u8>,
}

/// The file of an earlier audit.
struct Heads {
    lines: BufReader<File>,
    ahead: Option<Head>,
    read: Sha256,
    count: u64,
    last: Option<(i64, i64)>,
    partitions: i64,
    path: PathBuf,
}

impl Heads {
    fn open(path: &Path, partitions: i64) -> Read<Option<Heads>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(told(path, error)),
        };
        let (path, lines) = (path.to_owned(), BufReader::new(file));
        let mut heads =
            Heads { lines, ahead: None, read: Sha256::new(), count: 0, last: None, partitions, path };
        // All of it is read before the ledger is: what cannot be believed must not be half believed.
        heads.begin()?;
        while heads.advance()?.is_some() {}
        let mut rest = Vec::new();
        heads.lines.read_to_end(&mut rest).map_err(|error| told(&heads.path, error))?;
        if !rest.is_empty() {
            return Err(heads.malformed("something follows its end"));
        }
        heads.lines.rewind().map_err(|error| told(&heads.path, error))?;
        (heads.read, heads.count, heads.last) = (Sha256::new(), 0, None);
        heads.begin()?;
        heads.ahead = heads.advance()?;
        Ok(Some(heads))
    }

    /// The first line.
    fn begin(&mut self) -> Read<()> {
        let line = self.line()?;
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        let ["scrip", "anchor", version, "partitions", partitions, "at", _] = words[..] else {
            return Err(self.malformed("it does not begin as one"));
        };
        if version != "1" {
            return Err(self.malformed("it has another version than 1"));
        }
        if partitions.parse() != Ok(self.partitions) {
            return Err(self.malformed(&format!(
                "it is about a database of {partitions} partitions, this one has {}",
                self.partitions
            )));
        }
        self.read.update(&line);
        Ok(())
    }

    /// The next head; `None` at the end, which must be as it was written.
    fn advance(&mut self) -> Read<Option<Head>> {
        let line = self.line()?;
        let words: Vec<&str> = line.strip_suffix('\n').unwrap_or("").split(' ').collect();
        let [first, number, hash] = words[..] else { return Err(self.malformed("a line is not complete")) };
        if first == "end" {
            let whole = number.parse() == Ok(self.count) && hash == hex(&self.read.clone().finalize());
            return if whole { Ok(None) } else { Err(self.malformed("it is not as it was written")) };
        }
        let head = || {
            let (workspace, seq) = (crate::id::parse_workspace(first)?, number.parse().ok()?);
            Some(Head { workspace, seq, hash: bytes(hash)? })
        };
        let Some(head) = head() else { return Err(self.malformed("a line cannot be read")) };
        let place = Some((head.workspace.rem_euclid(self.partitions), head.workspace));
        if place <= self.last {
            return Err(self.malformed("its lines are not in order"));
        }
        (self.last, self.count) = (place, self.count + 1);
        self.read.update(&line);
        Ok(Some(head))
    }

    fn line(&mut self) -> Read<String> {
        let mut line = String::new();
        let read = (&mut self.lines).take(LINE).read_line(&mut line);
        match read {
            Ok(_) if line.ends_with('\n') => Ok(line),
            Ok(_) => Err(self.malformed("it ends too early")),
            Err(error) => Err(told(&self.path, error)),
        }
    }

    fn malformed(&self, why: &str) -> Unread {
        told(&self.path, format!("no anchor file that can be believed: {why}"))
    }
}

impl Anchor {
    /// Reads the file, if it is there, and begins the one that will replace it.
    pub fn open(path: &Path, partitions: i64, moment: &str) -> Read<Anchor> {
        let old = Heads::open(path, partitions)?;
        let mut name = path.file_name().ok_or_else(|| told(path, "not a file's name"))?.to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let new_path = path.with_file_name(name);
        let new = BufWriter::new(File::create(&new_path).map_err(|error| told(&new_path, error))?);
        let (path, written) = (path.to_owned(), Sha256::new());
        let mut anchor = Anchor { path, old, new, new_path, written, count: 0 };
        anchor.write(&format!("scrip anchor 1 partitions {partitions} at {moment}\n"))?;
        Ok(anchor)
    }

    /// The head of a workspace, where one was written down. Those before it are of workspaces that are gone.
    pub fn head_of(
        &mut self,
        (partition, workspace): (i64, i64),
        findings: &mut Findings,
    ) -> Read<Option<Head>> {
        let Some(heads) = &mut self.old else { return Ok(None) };
        let partitions = heads.partitions;
        while let Some(head) = heads
            .ahead
            .take_if(|head| (head.workspace.rem_euclid(partitions), head.workspace) <= (partition, workspace))
        {
            heads.ahead = heads.advance()?;
            findings.report.anchored += 1;
            if head.workspace == workspace {
                return Ok(Some(head));
            }
            findings.workspace = head.workspace;
            findings.broken(ANCHOR, format!("the workspace of entry {} is gone", head.seq));
            findings.workspace = workspace;
        }
        Ok(None)
    }

    /// Reports what is left after the last workspace.
    pub fn rest(&mut self, findings: &mut Findings) -> Read<()> {
        self.head_of((i64::MAX, i64::MAX), findings).map(drop)
    }

    /// Writes the head of a workspace down.
    pub fn push(&mut self, workspace: i64, seq: i64, hash: &[u8]) -> Read<()> {
        self.count += 1;
        self.write(&format!("{} {seq} {}\n", crate::id::workspace(workspace), hex(hash)))
    }

    /// Replaces the file by the new one.
    pub fn replace(mut self) -> Read<()> {
        let end = format!("end {} {}\n", self.count, hex(&self.written.clone().finalize()));
        self.write(&end)?;
        let synced = self.new.flush().and_then(|()| self.new.get_ref().sync_all());
        let renamed = synced.and_then(|()| std::fs::rename(&self.new_path, &self.path));
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let done = renamed.and_then(|()| File::open(folder.unwrap_or(Path::new(".")))?.sync_all());
        done.map_err(|error| told(&self.path, error))
    }

    fn write(&mut self, line: &str) -> Read<()> {
        self.written.update(line);
        self.new.write_all(line.as_bytes()).map_err(|error| told(&self.new_path, error))
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // Gone already where it has replaced the file.
        let _ = std::fs::remove_file(&self.new_path);
    }
}

impl Head {
    /// Whether an entry is the head, and the same as then: `false` to go on looking.
    pub fn is(&self, seq: i64, hash: &[u8], findings: &mut Findings) -> bool {
        findings.check(seq != self.seq || hash == self.hash, ANCHOR, || {
            format!("entry {seq} has another hash than it had")
        });
        seq == self.seq
    }

    /// Nothing was the head.
    pub fn lost(&self, last: i64, findings: &mut Findings) {
        findings.broken(ANCHOR, format!("entry {} is gone, the ledger ends at {last}", self.seq));
    }
}

fn told(path: &Path, why: impl Display) -> Unread {
    Unread(format!("--anchor {}: {why}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash, written exactly as we would write it.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| Some(b"0123456789abcdef".iter().position(|known| *known == byte)? as u8);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    (pairs.len() == 32 && rest.is_empty()).then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
