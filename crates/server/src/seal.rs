//! Seals what must not lie in the database in the clear: how a workspace's own mail servers are reached.
//!
//! It owns the key. The key is configured (`seal_key`), or a file beside the database that no backup contains; on a server that
//! nodes share, where there is no such file, it follows from the operator's key.
//!
//! Invariant: what is sealed for one thing opens for that thing alone.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

use crate::clock;
use crate::config::Secret;
use crate::hex::{from_hex, hex};
use crate::store::Place;

/// The first byte of what is sealed this way.
const VERSION: u8 = 1;
/// The file of the key, in the data directory.
const FILE: &str = "seal.key";

/// A key that is read, or made, when it is first needed.
pub struct Seal {
    source: Source,
    key: Mutex<Option<[u8; 32]>>,
}

enum Source {
    Given([u8; 32]),
    File(PathBuf),
}

impl Seal {
    /// The key of a database; reads nothing yet.
    pub fn new(place: &Place, given: Option<&Secret>, operator_key: &str) -> Seal {
        let source = match (given, place) {
            (Some(given), _) => Source::Given(derived(given.reveal())),
            (None, Place::Directory(directory)) => Source::File(directory.join(FILE)),
            (None, Place::Postgres(_)) => Source::Given(derived(operator_key)),
        };
        Seal { source, key: Mutex::default() }
    }

    /// Seals a text for the thing that is named.
    ///
    /// # Errors
    /// One line, when there is no key and none can be made.
    pub fn close(&self, whose: &str, text: &str) -> Result<Vec<u8>, String> {
        let nonce: [u8; NONCE_LEN] = clock::random();
        let mut sealed = text.as_bytes().to_vec();
        self.key()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(whose.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| "the text could not be sealed".to_owned())?;
        let mut whole = vec![VERSION];
        whole.extend_from_slice(&nonce);
        whole.append(&mut sealed);
        Ok(whole)
    }

    /// Opens what was sealed for the thing that is named; `None`: another key, another thing, or somebody changed it.
    pub fn open(&self, whose: &str, sealed: &[u8]) -> Option<Secret> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok().filter(|_| *version == VERSION)?;
        let mut sealed = sealed.to_vec();
        let opened = self.key().ok()?.open_in_place(nonce, Aad::from(whose.as_bytes()), &mut sealed).ok()?;
        std::str::from_utf8(opened).ok().map(Secret::new)
    }

    fn key(&self) -> Result<LessSafeKey, String> {
        let mut known = self.key.lock().map_err(|_| "the key is lost".to_owned())?;
        let bytes = match (*known, &self.source) {
            (Some(key), _) => key,
            (None, Source::Given(key)) => *key,
            (None, Source::File(file)) => read_or_make(file)?,
        };
        *known = Some(bytes);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes)
            .map_err(|_| "the key has a wrong length".to_owned())?;
        Ok(LessSafeKey::new(key))
    }
}

fn derived(secret: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(b"scrip: what is sealed in the database");
    mac.finalize().into_bytes().into()
}

fn read_or_make(file: &Path) -> Result<[u8; 32], String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    match fs::read_to_string(file) {
        Ok(text) => from_hex(text.trim())
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| format!("{}: is not a key of 64 hexadecimal digits", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key: [u8; 32] = clock::random();
            let mut options = OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
            let mut made = options.open(file).map_err(problem)?;
            made.write_all(hex(&key).as_bytes()).and_then(|()| made.sync_all()).map_err(problem)?;
            // A name that a power cut takes back would take everything sealed with it.
            let directory = file.parent().unwrap_or(Path::new("."));
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(problem)?;
            Ok(key)
        }
        Err(error) => Err(problem(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_thing_alone() {
        let directory = std::env::temp_dir().join(format!("scrip-seal-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let place = Place::Directory(directory.clone());
        let url = "smtp://user:secret@mail.example.com";
        let sealed = Seal::new(&place, None, "operator").close("sender_1", url).expect("a key is made");
        assert!(!sealed.windows(6).any(|window| window == b"secret"), "nothing of it is readable");
        let again = Seal::new(&place, None, "another operator");
        assert_eq!(again.open("sender_1", &sealed).as_ref().map(Secret::reveal), Some(url));
        assert_ne!(
            sealed,
            again.close("sender_1", url).expect("sealed"),
            "the same text never looks the same"
        );
        assert!(again.open("sender_2", &sealed).is_none(), "another thing's");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(again.open("sender_1", &changed).is_none(), "byte {at}");
            assert!(again.open("sender_1", &sealed[..at]).is_none(), "cut at {at}");
        }
        let given = Seal::new(&place, Some(&Secret::new("a key")), "operator");
        assert!(given.open("sender_1", &sealed).is_none(), "another key");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(directory.join(FILE)).expect("it is there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(&directory).expect("it goes");
    }
}
