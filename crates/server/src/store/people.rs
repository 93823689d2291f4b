//! Who may come in: API keys and the secret that signs links; people and their sessions are in the files below.

mod members;
mod sessions;
mod sign_in;

use billing::Time;
use sha2::{Digest, Sha256};

use super::{Error, Store, logbook};
use crate::{clock, id, values};

pub(super) use members::admit_admin;
pub use members::{Admission, Member, Membership};
pub use sessions::{KnownSession, Role, Session, SessionRow, Way, Whose};
pub use sign_in::SIGN_IN_SECONDS;

/// What belongs to no workspace is written by the first partition's writer.
pub(super) const NOBODY: i64 = 0;

/// An API key as it is listed.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: i64,
    pub label: String,
    pub created_at: Time,
    pub revoked_at: Option<Time>,
}

impl Store {
    /// Makes a key for a workspace; the secret's SHA-256 is all that is kept.
    pub async fn create_key(
        &self,
        workspace: i64,
        label: String,
        secret: [u8; 32],
        actor: String,
    ) -> Result<ApiKey, Error> {
        let (id, hash) = (clock::fresh_id(), digest(&secret));
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let now = batch.now;
            batch.tx.execute(
                "insert into api_key (id, owner, hash, label, created_at) values (?1, ?2, ?3, ?4, ?5)",
                values![id, workspace, &hash, &label, now],
            )?;
            let name = id::inside("key", workspace, id);
            logbook::note(batch, workspace, &actor, ("key.created", &name), (None, Some(&label)))?;
            Ok(ApiKey { id, label: label.clone(), created_at: now, revoked_at: None })
        })
        .await
    }

    /// The keys of a workspace, newest first.
    pub async fn keys(&self, workspace: i64) -> Result<Vec<ApiKey>, Error> {
        self.read(move |tx| {
            tx.query(
                "select id, label, created_at, revoked_at from api_key where owner = ?1 order by id desc limit 500",
                values![workspace],
                |row| Ok(ApiKey { id: row.int(0)?, label: row.text(1)?, created_at: row.time(2)?, revoked_at: row.opt_time(3)? }),
            )
        })
        .await
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, workspace: i64, key: i64, actor: String) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            let known = "select label, revoked_at from api_key where owner = ?1 and id = ?2";
            let known =
                batch.tx.one(known, values![workspace, key], |row| Ok((row.text(0)?, row.opt_time(1)?)))?;
            let (label, revoked) = known.ok_or(Error::NotFound)?;
            if revoked.is_some() {
                return Ok(());
            }
            batch.tx.execute(
                "update api_key set revoked_at = ?3 where owner = ?1 and id = ?2",
                values![workspace, key, batch.now],
            )?;
            let name = id::inside("key", workspace, key);
            logbook::note(batch, workspace, &actor, ("key.revoked", &name), (Some(&label), None))
        })
        .await
    }

    /// The workspace and secret's digest of a key that is not revoked.
    pub async fn find_key(&self, key: i64) -> Result<Option<(i64, Vec<u8>)>, Error> {
        self.read(move |tx| {
            tx.one(
                "select owner, hash from api_key where id = ?1 and revoked_at is null",
                values![key],
                |row| Ok((row.int(0)?, row.blob(1)?)),
            )
        })
        .await
    }

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
