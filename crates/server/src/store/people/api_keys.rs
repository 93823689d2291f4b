//! API keys. Only the digest of a key's secret is kept.

use billing::Time;

use super::{NOBODY, digest};
use crate::store::{Error, Store, logbook};
use crate::{clock, id, values};

/// What a key may do; each may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// Look at everything of the workspace.
    Read = 0,
    /// Hold, settle and charge.
    Charge = 1,
    /// Everything but what needs the operator.
    Manage = 2,
}

impl Scope {
    /// All of them, the least first.
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Charge, Scope::Manage];

    /// As it is written in the API and in forms.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Charge => "charge",
            Scope::Manage => "manage",
        }
    }

    /// The scope of a name.
    pub fn parse(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// What is not known may do the least.
    fn of(code: i64) -> Scope {
        Scope::ALL.into_iter().find(|scope| *scope as i64 == code).unwrap_or(Scope::Read)
    }
}

/// An API key as it is listed.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: i64,
    pub label: String,
    pub scope: Scope,
    pub created_at: Time,
    /// When it was used last, as far as that is written down.
    pub used_at: Option<Time>,
    pub revoked_at: Option<Time>,
}

/// What a request with a key is held against.
#[derive(Clone, Debug)]
pub struct StoredKey {
    pub workspace: i64,
    pub scope: Scope,
    /// Of its secret.
    pub digest: Vec<u8>,
    pub used_at: Option<Time>,
}

impl Store {
    /// Makes a key for a workspace; the secret's SHA-256 is all that is kept.
    pub async fn create_key(
        &self,
        workspace: i64,
        (label, scope): (String, Scope),
        secret: [u8; 32],
        actor: String,
    ) -> Result<ApiKey, Error> {
        let (id, hash) = (clock::fresh_id(), digest(&secret));
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let created_at = batch.now;
            batch.tx.execute(
                "insert into api_key (id, owner, hash, label, scope, created_at) values (?1, ?2, ?3, ?4, ?5, ?6)",
                values![id, workspace, &hash, &label, scope as i64, created_at],
            )?;
            let (name, words) = (id::inside("key", workspace, id), format!("{label}, {}", scope.name()));
            logbook::note(batch, workspace, &actor, ("key.created", &name), (None, Some(&words)))?;
            Ok(ApiKey { id, label: label.clone(), scope, created_at, used_at: None, revoked_at: None })
        })
        .await
    }

    /// The keys of a workspace, newest first; or from the one made before another on.
    pub async fn keys(&self, workspace: i64, before: Option<i64>, limit: i64) -> Result<Vec<ApiKey>, Error> {
        let before = before.unwrap_or(i64::MAX);
        self.read(move |tx| {
            tx.query(
                "select id, label, scope, created_at, used_at, revoked_at from api_key where owner = ?1 and id < ?2
                 order by id desc limit ?3",
                values![workspace, before, limit],
                |row| {
                    let (id, label, scope) = (row.int(0)?, row.text(1)?, Scope::of(row.int(2)?));
                    let (created_at, used_at) = (row.time(3)?, row.opt_time(4)?);
                    Ok(ApiKey { id, label, scope, created_at, used_at, revoked_at: row.opt_time(5)? })
                },
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

    /// A key that is not revoked.
    pub async fn find_key(&self, key: i64) -> Result<Option<StoredKey>, Error> {
        self.read(move |tx| {
            tx.one(
                "select owner, scope, hash, used_at from api_key where id = ?1 and revoked_at is null",
                values![key],
                |row| {
                    let (workspace, scope) = (row.int(0)?, Scope::of(row.int(1)?));
                    Ok(StoredKey { workspace, scope, digest: row.blob(2)?, used_at: row.opt_time(3)? })
                },
            )
        })
        .await
    }

    /// Writes down when keys were used, all at once.
    pub async fn keys_used(&self, used: Vec<(i64, Time)>) -> Result<(), Error> {
        self.write(NOBODY, move |batch| {
            let later = "update api_key set used_at = ?2 where id = ?1 and coalesce(used_at, 0) < ?2";
            used.iter().try_for_each(|(key, at)| batch.tx.execute(later, values![*key, *at]).map(drop))
        })
        .await
    }
}
