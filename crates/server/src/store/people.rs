//! Who may come in: the secret that signs links; API keys, people and their sessions are in the files below.

mod api_keys;
mod members;
mod passwords;
mod sessions;
mod sign_in;

use billing::Time;
use sha2::{Digest, Sha256};

use super::{Error, Store};
use crate::{clock, values};

pub use api_keys::{ApiKey, Scope, StoredKey};
pub(super) use members::admit_admin;
pub use members::{Admission, Member, Membership};
pub use passwords::{Changed, Keep, Try};
pub use sessions::{KnownSession, Role, Session, SessionRow, Way, Whose};
pub use sign_in::SIGN_IN_SECONDS;

/// What belongs to no workspace is written by the first partition's writer.
pub(super) const NOBODY: i64 = 0;

impl Store {
    /// The secret that signs links, made on first use.
    pub async fn link_secret(&self) -> Result<Vec<u8>, Error> {
        let fresh: String = clock::random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        self.write(NOBODY, move |batch| {
            batch.tx.execute(
                "insert into meta (name, value) values ('link_secret', ?1) on conflict (name) do nothing",
                values![&fresh],
            )?;
            let stored =
                batch.tx.one("select value from meta where name = 'link_secret'", &[], |row| row.text(0))?;
            stored.map(String::into_bytes).ok_or(Error::NotFound)
        })
        .await
    }

    /// Stores the time of a manual clock, so that it survives a restart, and then moves it.
    pub async fn advance_clock(&self, now: Time) -> Result<(), Error> {
        let clock = self.clock().clone();
        self.write(NOBODY, move |batch| {
            // Another node may have moved it further.
            let now = now.max(batch.now).0.to_string();
            batch.tx.execute("update meta set value = ?1 where name = 'clock'", values![&now])?;
            Ok(())
        })
        .await?;
        clock.set(now);
        Ok(())
    }

    /// Fails unless the database takes a write.
    pub async fn ready(&self) -> Result<(), Error> {
        self.write(NOBODY, |batch| {
            batch.tx.execute(
                "insert into meta (name, value) values ('ready', '1') on conflict (name) do update set value = excluded.value",
                &[],
            )?;
            Ok(())
        })
        .await
    }
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}
