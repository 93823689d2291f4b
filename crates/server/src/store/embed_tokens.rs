//! Tokens that show a balance in a host product's pages: which ones there are.
//!
//! What a token says, it says itself, signed. A row here is what makes it work until it ends.

use billing::Time;

use super::{Error, Store, logbook};
use crate::{id, values};

/// How many tokens of a workspace may work at the same time.
const MAX_TOKENS: i64 = 100_000;

/// A token, without its secret.
#[derive(Clone, Debug)]
pub struct EmbedToken {
    pub id: i64,
    pub origins: Vec<String>,
    pub created_at: Time,
    pub expires_at: Time,
}

impl Store {
    /// Keeps a token. Those that ended are forgotten.
    pub async fn create_embed_token(&self, workspace: i64, token: EmbedToken) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let ended = "delete from embed_token where workspace = ?1 and expires_at <= ?2";
            batch.tx.execute(ended, values![workspace, batch.now])?;
            let count = "select count(*) from embed_token where workspace = ?1";
            if batch.tx.int(count, values![workspace])? >= MAX_TOKENS {
                let detail = "a workspace has at most 100000 embed tokens that work: let them end sooner, or revoke some";
                return Err(Error::Conflict("too_many_embed_tokens", detail));
            }
            let EmbedToken { id, origins, created_at, expires_at } = &token;
            batch.tx.execute(
                "insert into embed_token (workspace, id, origins, created_at, expires_at) values (?1, ?2, ?3, ?4, ?5)",
                values![workspace, *id, origins.join(" "), *created_at, *expires_at],
            )?;
            Ok(())
        })
        .await
    }

    /// The tokens that work, newest first.
    pub async fn embed_tokens(
        &self,
        workspace: i64,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<EmbedToken>, Error> {
        let now = self.clock().now();
        self.read(move |tx| {
            tx.query(
                "select id, origins, created_at, expires_at from embed_token
                 where workspace = ?1 and id < ?2 and expires_at > ?3 order by id desc limit ?4",
                values![workspace, before.unwrap_or(i64::MAX), now, limit],
                |row| {
                    let origins = row.text(1)?.split(' ').map(str::to_owned).collect();
                    let (created_at, expires_at) = (row.time(2)?, row.time(3)?);
                    Ok(EmbedToken { id: row.int(0)?, origins, created_at, expires_at })
                },
            )
        })
        .await
    }

    /// Whether a token was made here and not revoked.
    pub async fn embed_token_stands(&self, workspace: i64, token: i64) -> Result<bool, Error> {
        self.read(move |tx| {
            let one = "select 1 from embed_token where workspace = ?1 and id = ?2";
            Ok(tx.one(one, values![workspace, token], |row| row.int(0))?.is_some())
        })
        .await
    }

    /// Revokes a token.
    pub async fn revoke_embed_token(&self, workspace: i64, token: i64, actor: String) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            let origins = "select origins from embed_token where workspace = ?1 and id = ?2";
            let origins = batch.tx.one(origins, values![workspace, token], |row| row.text(0))?;
            let origins = origins.ok_or(Error::NotFound)?;
            let gone = "delete from embed_token where workspace = ?1 and id = ?2";
            batch.tx.execute(gone, values![workspace, token])?;
            let name = id::inside("emb", workspace, token);
            logbook::note(batch, workspace, &actor, ("embed_token.revoked", &name), (Some(&origins), None))
        })
        .await
    }
}
