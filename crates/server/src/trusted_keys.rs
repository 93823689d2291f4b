//! API keys as this node knows them: trusted from memory, because every request has one.
//!
//! Owns when a key is looked up again, and when its use is written down: by the scheduler, many keys at once and each now and
//! then, so that no request waits for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, RwLock};

use billing::Time;
use billing::units::SECOND;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::store::Error;
use crate::store::people::Scope;

/// How long a key is trusted without another look where another node may have revoked it, in microseconds.
const TRUSTED: i64 = SECOND;
/// How often it is written down that a key is in use, in microseconds.
const USED_EVERY: i64 = 300 * SECOND;
/// How many uses are written in one go.
const AT_ONCE: usize = 1_000;

/// The keys that were used here.
#[derive(Default)]
pub struct TrustedKeys {
    known: RwLock<Known>,
    /// Uses to be written down: at most one of a key in [`USED_EVERY`].
    used: Mutex<Vec<(i64, Time)>>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<i64, TrustedKey>,
    /// How often a key was forgotten.
    forgotten: u64,
}

/// What a secret opens, and whether this use is to be written down.
type Opened = (Option<(i64, Scope)>, bool);

/// A key as it was when it was looked at.
struct TrustedKey {
    workspace: i64,
    scope: Scope,
    digest: [u8; 32],
    looked_at: Time,
    /// The use that was written down last, or will be.
    noted: AtomicI64,
}

impl TrustedKey {
    /// What it opens for a secret with this digest.
    fn open(&self, digest: [u8; 32], now: Time) -> Opened {
        if !bool::from(digest.ct_eq(&self.digest)) {
            return (None, false);
        }
        let noted = self.noted.load(Ordering::Relaxed);
        // Of two requests at the same time, one notes it.
        let note = now.0 - noted >= USED_EVERY
            && self.noted.compare_exchange(noted, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        (Some((self.workspace, self.scope)), note)
    }
}

impl TrustedKeys {
    /// How often a key was forgotten: to be asked before one is looked up.
    fn forgotten(&self) -> u64 {
        self.known.read().map_or(0, |known| known.forgotten)
    }

    /// Remembers a key that was looked up, unless one was forgotten since: it may be this one, looked at before it was revoked.
    fn trust(&self, key: i64, fresh: TrustedKey, forgotten: u64, (digest, now): ([u8; 32], Time)) -> Opened {
        let Ok(mut known) = self.known.write() else { return fresh.open(digest, now) };
        // What was noted since and is not written yet must not be noted again.
        let before = known.keys.get(&key).map_or(0, |before| before.noted.load(Ordering::Relaxed));
        fresh.noted.fetch_max(before, Ordering::Relaxed);
        let opened = fresh.open(digest, now);
        if known.forgotten == forgotten {
            known.keys.insert(key, fresh);
        }
        opened
    }

    fn forget(&self, key: i64) {
        if let Ok(mut known) = self.known.write() {
            known.forgotten += 1;
            known.keys.remove(&key);
        }
    }
}

impl App {
    /// The workspace behind an API key and what the key may do there, or `None`. Looked up by its id, compared by its secret's
    /// digest.
    ///
    /// # Errors
    /// When the database cannot say: that is no reason to send somebody away as a stranger.
    pub async fn open_key(&self, key: i64, secret: &[u8]) -> Result<Option<(i64, Scope)>, Error> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let now = self.clock.now();
        let (opened, note) = match self.open_trusted(key, digest, now) {
            Some(outcome) => outcome,
            None => {
                let forgotten = self.keys.forgotten();
                let Some(stored) = self.store.find_key(key).await? else { return Ok(None) };
                let Ok(known) = stored.digest.try_into() else { return Ok(None) };
                let noted = AtomicI64::new(stored.used_at.map_or(0, |at| at.0));
                let (workspace, scope) = (stored.workspace, stored.scope);
                let fresh = TrustedKey { workspace, scope, digest: known, looked_at: now, noted };
                self.keys.trust(key, fresh, forgotten, (digest, now))
            }
        };
        if note && let Ok(mut used) = self.keys.used.lock() {
            used.push((key, now));
        }
        Ok(opened)
    }

    fn open_trusted(&self, key: i64, digest: [u8; 32], now: Time) -> Option<Opened> {
        let known = self.keys.known.read().ok()?;
        let trusted = |known: &&TrustedKey| {
            !self.store.is_shared() || (0..TRUSTED).contains(&(now.0 - known.looked_at.0))
        };
        known.keys.get(&key).filter(trusted).map(|known| known.open(digest, now))
    }

    /// Revokes a key and forgets it, also when whoever asked hangs up in between: else it would be trusted until the next start.
    ///
    /// # Errors
    /// When there is no such key, or the store cannot write.
    pub async fn revoke_key(&self, workspace: i64, key: i64, actor: String) -> Result<(), Error> {
        let app = self.clone();
        let revoking = tokio::spawn(async move {
            app.store.revoke_key(workspace, key, actor).await?;
            app.keys.forget(key);
            Ok(())
        });
        revoking.await.unwrap_or_else(|_| Err(Error::Unavailable("the key may be revoked or not".to_owned())))
    }

    /// Writes down which keys were used, if any were.
    ///
    /// # Errors
    /// When the store cannot write. The uses are lost then; the next ones are written.
    pub async fn write_key_uses(&self) -> Result<(), Error> {
        let used = self.keys.used.lock().map(|mut used| std::mem::take(&mut *used)).unwrap_or_default();
        for some in used.chunks(AT_ONCE) {
            self.store.keys_used(some.to_vec()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: i64 = 7;

    fn looked_up(keys: &TrustedKeys, forgotten: u64) -> bool {
        let (scope, noted) = (Scope::Manage, AtomicI64::new(0));
        let fresh = TrustedKey { workspace: 1, scope, digest: [1; 32], looked_at: Time(0), noted };
        assert_eq!(keys.trust(KEY, fresh, forgotten, ([1; 32], Time(0))).0, Some((1, Scope::Manage)));
        keys.known.read().expect("the keys").keys.contains_key(&KEY)
    }

    #[test]
    fn a_key_that_is_revoked_while_it_is_looked_up_is_not_trusted() {
        let keys = TrustedKeys::default();
        let before = keys.forgotten();
        keys.forget(KEY);
        assert!(!looked_up(&keys, before), "what was read is older than what was revoked");
        assert!(looked_up(&keys, keys.forgotten()), "and a look that begins later is as good as any");
        keys.forget(KEY);
        assert!(!keys.known.read().expect("the keys").keys.contains_key(&KEY));
    }
}
