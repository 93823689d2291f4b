//! Who may come into a workspace by themselves, and as what.
//!
//! Invariant: a workspace that has an Admin keeps one. All changes of a workspace's people hold its account, so of two at the same
//! time the second sees the first, on every node.

use billing::Time;

use super::sessions::Role;
use crate::store::batch::Batch;
use crate::store::{Error, Store, logbook, outbox, workspaces};
use crate::values;

/// How many people a workspace may have.
const MAX_MEMBERS: i64 = 500;
/// How many workspaces of a person are listed.
const MAX_WORKSPACES: i64 = 100;

/// Somebody in a workspace.
#[derive(Clone, Debug)]
pub struct Member {
    pub email: String,
    pub role: Role,
    pub created_at: Time,
    /// When the person last came in.
    pub seen_at: Option<Time>,
}

/// A workspace of a person.
#[derive(Clone, Debug)]
pub struct Membership {
    pub workspace: i64,
    pub name: String,
    pub role: Role,
}

/// Who is let in by whom.
#[derive(Clone, Debug)]
pub struct Admission {
    pub email: String,
    pub role: Role,
    /// As the ledger names them.
    pub actor: String,
    /// Where people sign in.
    pub url: String,
}

impl Store {
    /// The people of a workspace, by address.
    pub async fn members(&self, workspace: i64) -> Result<Vec<Member>, Error> {
        self.read(move |tx| {
            tx.query(
                "select email, role, created_at, seen_at from member where owner = ?1 order by email limit 500",
                values![workspace],
                |row| {
                    let (email, role) = (row.text(0)?, Role::of(row.int(1)?));
                    Ok(Member { email, role, created_at: row.time(2)?, seen_at: row.opt_time(3)? })
                },
            )
        })
        .await
    }

    /// The workspaces of a person, the one they were in last first.
    pub async fn memberships(&self, email: String) -> Result<Vec<Membership>, Error> {
        self.read(move |tx| {
            let own = "select owner, role from member where email = ?1 order by coalesce(seen_at, 0) desc, owner limit ?2";
            let own = tx.query(own, values![&email, MAX_WORKSPACES], |row| {
                Ok((row.int(0)?, Role::of(row.int(1)?)))
            })?;
            let mut memberships = Vec::with_capacity(own.len());
            for (workspace, role) in own {
                let name = workspaces::find(tx, workspace)?.name;
                memberships.push(Membership { workspace, name, role });
            }
            Ok(memberships)
        })
        .await
    }

    /// What a person is in a workspace.
    pub async fn membership(&self, workspace: i64, email: String) -> Result<Option<Role>, Error> {
        self.read(move |tx| {
            let role = "select role from member where owner = ?1 and email = ?2";
            tx.one(role, values![workspace, &email], |row| Ok(Role::of(row.int(0)?)))
        })
        .await
    }

    /// Lets somebody in, and mails where to sign in.
    pub async fn admit(&self, workspace: i64, admission: Admission) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            let Admission { email, role, actor, url } = &admission;
            batch.load(workspace)?;
            let count = "select count(*) from member where owner = ?1";
            if batch.tx.int(count, values![workspace])? >= MAX_MEMBERS {
                return Err(Error::Conflict("too_many_members", "a workspace has at most 500 people"));
            }
            if role_of(batch, workspace, email)?.is_some() {
                return Err(Error::Conflict("member_exists", "this person is in the workspace already"));
            }
            insert(batch, workspace, email, *role)?;
            logbook::note(batch, workspace, actor, ("member.added", email), (None, Some(word(*role))))?;
            let name = workspaces::find(&batch.tx, workspace)?.name;
            let subject = format!("You were invited to {name}");
            let body = format!(
                "{actor} added you to {name} as {}.\n\nSign in with this address; a link is mailed to it:\n{url}\n",
                word(*role)
            );
            outbox::mail(&batch.tx, workspace, batch.now, (email, &subject, &body))
        })
        .await
    }

    /// Makes somebody an Admin or a Member, and so are their sessions from now on.
    pub async fn set_role(
        &self,
        workspace: i64,
        email: String,
        role: Role,
        actor: String,
    ) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let now = role_of(batch, workspace, &email)?.ok_or(Error::NotFound)?;
            if now == role {
                return Ok(());
            }
            keep_an_admin(batch, workspace, &email)?;
            let code = role as i64;
            batch.tx.execute(
                "update member set role = ?3 where owner = ?1 and email = ?2",
                values![workspace, &email, code],
            )?;
            batch.tx.execute(
                "update session set role = ?3 where owner = ?1 and email = ?2 and way <> 0",
                values![workspace, &email, code],
            )?;
            let words = (Some(word(now)), Some(word(role)));
            logbook::note(batch, workspace, &actor, ("member.role", &email), words)
        })
        .await
    }

    /// Takes somebody out, and ends their sessions there at once.
    pub async fn remove_member(&self, workspace: i64, email: String, actor: String) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let now = role_of(batch, workspace, &email)?.ok_or(Error::NotFound)?;
            keep_an_admin(batch, workspace, &email)?;
            delete(batch, workspace, &email)?;
            logbook::note(batch, workspace, &actor, ("member.removed", &email), (Some(word(now)), None))
        })
        .await
    }
}

/// Makes the address that a workspace is given one of its Admins, in the place of the one that it was given before.
pub(in crate::store) fn admit_admin(
    batch: &Batch<'_>,
    workspace: i64,
    before: Option<&str>,
    email: &str,
) -> Result<(), Error> {
    let (before, email) = (before.map(str::to_ascii_lowercase), email.to_ascii_lowercase());
    if before.as_ref() == Some(&email) {
        return Ok(());
    }
    if role_of(batch, workspace, &email)?.is_none() {
        insert(batch, workspace, &email, Role::Admin)?;
    }
    before.map_or(Ok(()), |before| delete(batch, workspace, &before))
}

fn insert(batch: &Batch<'_>, workspace: i64, email: &str, role: Role) -> Result<(), Error> {
    batch.tx.execute(
        "insert into member (owner, email, role, created_at) values (?1, ?2, ?3, ?4)",
        values![workspace, email, role as i64, batch.now],
    )?;
    Ok(())
}

/// Takes a person out, with their sessions.
fn delete(batch: &Batch<'_>, workspace: i64, email: &str) -> Result<(), Error> {
    let of = values![workspace, email];
    batch.tx.execute("delete from member where owner = ?1 and email = ?2", of)?;
    batch.tx.execute("delete from session where owner = ?1 and email = ?2 and way <> 0", of)?;
    Ok(())
}

/// What somebody is in a workspace, in this transaction.
pub(super) fn role_of(batch: &Batch<'_>, workspace: i64, email: &str) -> Result<Option<Role>, Error> {
    let role = "select role from member where owner = ?1 and email = ?2";
    batch.tx.one(role, values![workspace, email], |row| Ok(Role::of(row.int(0)?)))
}

/// Fails when nobody but this person is an Admin, and they are.
fn keep_an_admin(batch: &Batch<'_>, workspace: i64, email: &str) -> Result<(), Error> {
    let others = "select count(*) from member where owner = ?1 and email <> ?2 and role = 1";
    let own = role_of(batch, workspace, email)? == Some(Role::Admin);
    if own && batch.tx.int(others, values![workspace, email])? == 0 {
        let detail = "a workspace keeps at least one admin: make somebody else an admin first";
        return Err(Error::Conflict("last_admin", detail));
    }
    Ok(())
}

fn word(role: Role) -> &'static str {
    if role == Role::Admin { "admin" } else { "member" }
}
