//! Signing in by a mailed link: who has the mail has the address.
//!
//! Invariant: a link works once and for a quarter of an hour; what is kept of it is a digest. Whether an address is known is not
//! told: a stranger's costs a write as well.

use super::members::Membership;
use super::sessions::Role;
use super::{NOBODY, digest};
use crate::store::{Error, Store, outbox};
use crate::values;

/// How long a mailed link works, in seconds.
pub const SIGN_IN_SECONDS: i64 = 900;
/// How many links of one address may be open: nobody's mailbox is flooded from here.
const MAX_OPEN: i64 = 3;

impl Store {
    /// Mails a link to a person who is in any workspace. `link` is where its token is.
    pub async fn ask_sign_in(&self, email: String, token: [u8; 32], link: String) -> Result<(), Error> {
        let (hash, whose) = (digest(&token), email.clone());
        let known = self
            .read(move |tx| {
                let last = "select owner from member where email = ?1 order by coalesce(seen_at, 0) desc, owner limit 1";
                tx.one(last, values![&whose], |row| row.int(0))
            })
            .await?;
        self.write(known.unwrap_or(NOBODY), move |batch| {
            batch.tx.execute("delete from sign_in where expires_at <= ?1", values![batch.now])?;
            let open = "select count(*) from sign_in where email = ?1";
            let open = batch.tx.int(open, values![&email])?;
            let Some(workspace) = known.filter(|_| open < MAX_OPEN) else { return Ok(()) };
            batch.tx.execute(
                "insert into sign_in (hash, email, expires_at) values (?1, ?2, ?3)",
                values![&hash, &email, batch.now.plus_seconds(SIGN_IN_SECONDS)],
            )?;
            let body = format!(
                "Sign in to Scrip with this link. It works once, within 15 minutes:\n{link}\n\n\
                 If you did not ask for it, nothing needs to be done.\n"
            );
            outbox::mail(&batch.tx, workspace, batch.now, (&email, "Your link to sign in", &body))
        })
        .await
    }

    /// Whether a mailed link still works. Looking at it does not use it up: programs that read mail look too.
    pub async fn is_sign_in(&self, token: [u8; 32]) -> Result<bool, Error> {
        let (hash, now) = (digest(&token), self.clock().now());
        self.read(move |tx| {
            let open = "select 1 from sign_in where hash = ?1 and expires_at > ?2";
            Ok(tx.one(open, values![&hash, now], |row| row.int(0))?.is_some())
        })
        .await
    }

    /// Uses a mailed link up, and answers whose it was.
    pub async fn use_sign_in(&self, token: [u8; 32]) -> Result<Option<String>, Error> {
        let hash = digest(&token);
        self.write(NOBODY, move |batch| {
            let whose = "select email from sign_in where hash = ?1 and expires_at > ?2";
            let whose = batch.tx.one(whose, values![&hash, batch.now], |row| row.text(0))?;
            // Of two who use it at the same time, one deletes it.
            let used = batch.tx.execute("delete from sign_in where hash = ?1", values![&hash])?;
            Ok(whose.filter(|_| used == 1))
        })
        .await
    }

    /// Where a person comes in: the workspace that was asked for or else the one they were in last, and as what.
    pub async fn enter(&self, email: String, wanted: Option<i64>) -> Result<Option<(i64, Role)>, Error> {
        let memberships = self.memberships(email.clone()).await?;
        let suits = |membership: &&Membership| wanted.is_none_or(|wanted| wanted == membership.workspace);
        let Some((workspace, role)) =
            memberships.iter().find(suits).map(|found| (found.workspace, found.role))
        else {
            return Ok(None);
        };
        self.write(workspace, move |batch| {
            let seen = "update member set seen_at = ?3 where owner = ?1 and email = ?2";
            batch.tx.execute(seen, values![workspace, &email, batch.now])?;
            Ok(())
        })
        .await?;
        Ok(Some((workspace, role)))
    }
}
