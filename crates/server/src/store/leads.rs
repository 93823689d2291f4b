//! Leads and the blocklist. Importing is free; a lead is known by its e-mail, LinkedIn URL or external id.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use billing::Time;
use serde_json::Value as Json;

use super::db::{Row, Tx};
use super::{Error, Store};
use crate::{clock, values};

/// What is known about an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum EmailState {
    /// There is none.
    #[default]
    None = 0,
    /// A provider returned it without vouching for it: stored and marked, never sent to.
    Unverified = 1,
    /// The workspace brought it.
    Imported = 2,
    /// A provider vouches for it.
    Verified = 3,
    /// Mail to it came back for good. Only another address takes its place.
    Bounced = 4,
}

/// A lead as it is stored.
#[derive(Clone, Debug, Default)]
pub struct Lead {
    pub id: i64,
    pub external_id: Option<String>,
    pub name: String,
    pub title: String,
    pub company: String,
    pub linkedin_url: Option<String>,
    pub email: Option<String>,
    pub email_state: EmailState,
    pub fields: BTreeMap<String, Json>,
    pub replied_at: Option<Time>,
    pub created_at: Time,
}

impl Lead {
    /// Whether there is an address that may be written to.
    pub fn usable_email(&self) -> Option<&str> {
        let usable = [EmailState::Imported, EmailState::Verified].contains(&self.email_state);
        self.email.as_deref().filter(|_| usable)
    }

    /// Whether an address that was found is worth more than the one that there is.
    pub fn improves(&self, email: &str, state: EmailState) -> bool {
        match self.email_state {
            EmailState::Bounced => self.email.as_deref() != Some(email),
            known => state > known,
        }
    }

    /// Whether a field of an enrichment is filled already.
    pub fn has(&self, field: &str) -> bool {
        match field {
            "contact" => self.usable_email().is_some(),
            "title" => !self.title.is_empty(),
            "company" => !self.company.is_empty(),
            "linkedin_url" => self.linkedin_url.is_some(),
            _ => self.fields.contains_key(field),
        }
    }
}

/// What became of an import.
#[derive(Clone, Copy, Debug, Default)]
pub struct Imported {
    pub created: i64,
    pub merged: i64,
}

const LEAD: &str = "select id, external_id, name, title, company, linkedin_url, email, email_state, fields, replied_at, created_at from lead";

fn read(row: &Row<'_>) -> Result<Lead, Error> {
    Ok(Lead {
        id: row.int(0)?,
        external_id: row.opt_text(1)?,
        name: row.text(2)?,
        title: row.text(3)?,
        company: row.text(4)?,
        linkedin_url: row.opt_text(5)?,
        email: row.opt_text(6)?,
        email_state: match row.int(7)? {
            4 => EmailState::Bounced,
            3 => EmailState::Verified,
            2 => EmailState::Imported,
            1 => EmailState::Unverified,
            _ => EmailState::None,
        },
        fields: serde_json::from_str(&row.text(8)?).unwrap_or_default(),
        replied_at: row.opt_time(9)?,
        created_at: row.time(10)?,
    })
}

/// One lead.
pub fn find(tx: &Tx<'_>, workspace: i64, id: i64) -> Result<Option<Lead>, Error> {
    tx.one(&format!("{LEAD} where workspace = ?1 and id = ?2"), values![workspace, id], read)
}

/// Stores a lead, merged into the one that has its e-mail, LinkedIn URL or external id. `true` when it is new.
pub fn merge(tx: &Tx<'_>, workspace: i64, new: &Lead, now: Time) -> Result<(i64, bool), Error> {
    let known = find_same(tx, workspace, new)?;
    let Some(mut lead) = known else {
        let lead = Lead { id: clock::fresh_id(), created_at: now, ..new.clone() };
        save(tx, workspace, &lead)?;
        return Ok((lead.id, true));
    };
    let fill = |old: &mut String, new: &String| {
        if !new.is_empty() {
            old.clone_from(new);
        }
    };
    fill(&mut lead.name, &new.name);
    fill(&mut lead.title, &new.title);
    fill(&mut lead.company, &new.company);
    lead.fields.extend(new.fields.clone());
    // An address that identifies another lead stays with that one.
    let free = |column: &str, value: &Option<String>| -> Result<bool, Error> {
        let Some(value) = value else { return Ok(false) };
        let taken = format!("select 1 from lead where workspace = ?1 and {column} = ?2 and id <> ?3");
        Ok(tx.one(&taken, values![workspace, value, lead.id], |row| row.int(0))?.is_none())
    };
    let (email, linkedin, external) = (
        free("email", &new.email)?,
        free("linkedin_url", &new.linkedin_url)?,
        free("external_id", &new.external_id)?,
    );
    if email && (lead.email != new.email || new.email_state > lead.email_state) {
        (lead.email, lead.email_state) = (new.email.clone(), new.email_state);
    }
    if linkedin {
        lead.linkedin_url.clone_from(&new.linkedin_url);
    }
    if external {
        lead.external_id.clone_from(&new.external_id);
    }
    save(tx, workspace, &lead)?;
    Ok((lead.id, false))
}

fn find_same(tx: &Tx<'_>, workspace: i64, new: &Lead) -> Result<Option<Lead>, Error> {
    let keys =
        [("email", &new.email), ("linkedin_url", &new.linkedin_url), ("external_id", &new.external_id)];
    for (column, value) in keys {
        if let Some(value) = value {
            let same = format!("{LEAD} where workspace = ?1 and {column} = ?2");
            if let Some(lead) = tx.one(&same, values![workspace, value], read)? {
                return Ok(Some(lead));
            }
        }
    }
    Ok(None)
}

/// Writes a lead.
pub fn save(tx: &Tx<'_>, workspace: i64, lead: &Lead) -> Result<(), Error> {
    let fields = serde_json::to_string(&lead.fields).unwrap_or_default();
    tx.execute(
        "insert into lead (workspace, id, external_id, name, title, company, linkedin_url, email, email_state, fields, replied_at,
           created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         on conflict (workspace, id) do update set external_id = excluded.external_id, name = excluded.name,
           title = excluded.title, company = excluded.company, linkedin_url = excluded.linkedin_url, email = excluded.email,
           email_state = excluded.email_state, fields = excluded.fields, replied_at = excluded.replied_at",
        values![
            workspace,
            lead.id,
            lead.external_id.as_ref(),
            &lead.name,
            &lead.title,
            &lead.company,
            lead.linkedin_url.as_ref(),
            lead.email.as_ref(),
            lead.email_state as i64,
            &fields,
            lead.replied_at,
            lead.created_at,
        ],
    )?;
    Ok(())
}

/// The names that leads of a workspace have among their fields.
fn known_fields(tx: &Tx<'_>, workspace: i64) -> Result<HashSet<String>, Error> {
    let names = "select name from lead_field where workspace = ?1";
    Ok(tx.query(names, values![workspace], |row| row.text(0))?.into_iter().collect())
}

/// Remembers the names of fields that come with leads, so that nobody has to look through all leads for them. Fields are never taken
/// away from a lead.
pub fn learn_fields<'a>(
    tx: &Tx<'_>,
    workspace: i64,
    leads: impl IntoIterator<Item = &'a Lead>,
) -> Result<(), Error> {
    let names: BTreeSet<&String> = leads.into_iter().flat_map(|lead| lead.fields.keys()).collect();
    if names.is_empty() {
        return Ok(());
    }
    // One is as soon written as looked for.
    let known = if names.len() > 1 { known_fields(tx, workspace)? } else { HashSet::new() };
    for name in names.into_iter().filter(|name| !known.contains(*name)) {
        tx.execute(
            "insert into lead_field (workspace, name) values (?1, ?2) on conflict (workspace, name) do nothing",
            values![workspace, name],
        )?;
    }
    Ok(())
}

/// Whether a lead is on the blocklist, by its address, its domain or its LinkedIn URL.
pub fn blocked(tx: &Tx<'_>, workspace: i64, lead: &Lead) -> Result<bool, Error> {
    let email = lead.email.as_deref().unwrap_or("").to_ascii_lowercase();
    let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
    let linkedin = lead.linkedin_url.as_deref().unwrap_or("");
    let found = tx.one(
        "select 1 from block where workspace = ?1 and entry in (?2, ?3, ?4) and entry <> ''",
        values![workspace, &email, domain, linkedin],
        |row| row.int(0),
    )?;
    Ok(found.is_some())
}

impl Store {
    /// Imports leads; each is new or merged.
    pub async fn import_leads(&self, workspace: i64, leads: Vec<Lead>) -> Result<Imported, Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let mut imported = Imported::default();
            learn_fields(&batch.tx, workspace, &leads)?;
            for lead in &leads {
                let (_, created) = merge(&batch.tx, workspace, lead, batch.now)?;
                imported.created += i64::from(created);
                imported.merged += i64::from(!created);
            }
            Ok(imported)
        })
        .await
    }

    /// Leads, newest first.
    pub async fn leads(&self, workspace: i64, before: Option<i64>, limit: i64) -> Result<Vec<Lead>, Error> {
        self.read(move |tx| {
            let page = format!("{LEAD} where workspace = ?1 and id < ?2 order by id desc limit ?3");
            tx.query(&page, values![workspace, before.unwrap_or(i64::MAX), limit], read)
        })
        .await
    }

    /// One lead.
    pub async fn lead(&self, workspace: i64, id: i64) -> Result<Lead, Error> {
        self.read(move |tx| find(tx, workspace, id)?.ok_or(Error::NotFound)).await
    }

    /// The first of these leads that the workspace does not have.
    pub async fn missing_lead(&self, workspace: i64, leads: Vec<i64>) -> Result<Option<i64>, Error> {
        self.read(move |tx| {
            for lead in leads {
                let known = "select 1 from lead where workspace = ?1 and id = ?2";
                if tx.one(known, values![workspace, lead], |row| row.int(0))?.is_none() {
                    return Ok(Some(lead));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Those of these names that no lead has among its fields.
    pub async fn unknown_fields(&self, workspace: i64, names: Vec<String>) -> Result<Vec<String>, Error> {
        self.read(move |tx| {
            let known = known_fields(tx, workspace)?;
            Ok(names.into_iter().filter(|name| !known.contains(name)).collect())
        })
        .await
    }

    /// Those of these leads to which a step went out, or may have.
    pub async fn contacted(&self, workspace: i64, leads: Vec<i64>) -> Result<HashSet<i64>, Error> {
        // The list of steps lets the key of `step_result` find each row; a campaign has at most 20.
        const SENT: &str = "select 1 from work w join step_result s on s.workspace = w.workspace and s.job = w.job
              and s.step in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19) and s.lead = w.lead
            where w.workspace = ?1 and w.lead = ?2 and w.position >= 1000 and s.outcome in (0, 3) limit 1";
        self.read(move |tx| {
            let mut contacted = HashSet::new();
            for lead in leads {
                if tx.one(SENT, values![workspace, lead], |row| row.int(0))?.is_some() {
                    contacted.insert(lead);
                }
            }
            Ok(contacted)
        })
        .await
    }

    /// Records that a lead answered: none of its remaining steps is sent.
    pub async fn lead_replied(&self, workspace: i64, id: i64) -> Result<Lead, Error> {
        self.write(workspace, move |batch| {
            let mut lead = find(&batch.tx, workspace, id)?.ok_or(Error::NotFound)?;
            lead.replied_at.get_or_insert(batch.now);
            save(&batch.tx, workspace, &lead)?;
            super::work::stop_lead(batch, workspace, id)?;
            Ok(lead)
        })
        .await
    }

    /// Mail to a lead came back for good: while it has one of these addresses, it gets none any more. Its other steps stay. `false`:
    /// it has another address, or this was known.
    pub async fn lead_bounced(&self, workspace: i64, id: i64, addresses: Vec<String>) -> Result<bool, Error> {
        self.write(workspace, move |batch| {
            let mut lead = find(&batch.tx, workspace, id)?.ok_or(Error::NotFound)?;
            let same = lead.email.as_ref().is_some_and(|email| addresses.contains(&email.to_lowercase()));
            if !same || lead.email_state == EmailState::Bounced {
                return Ok(false);
            }
            lead.email_state = EmailState::Bounced;
            save(&batch.tx, workspace, &lead)?;
            Ok(true)
        })
        .await
    }

    /// The blocklist, in order.
    pub async fn blocklist(&self, workspace: i64, after: String, limit: i64) -> Result<Vec<String>, Error> {
        self.read(move |tx| {
            tx.query(
                "select entry from block where workspace = ?1 and entry > ?2 order by entry limit ?3",
                values![workspace, &after, limit],
                |row| row.text(0),
            )
        })
        .await
    }

    /// Adds entries to the blocklist: addresses, domains or LinkedIn URLs.
    pub async fn block(&self, workspace: i64, entries: Vec<String>) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            for entry in &entries {
                batch.tx.execute(
                    "insert into block (workspace, entry, created_at) values (?1, ?2, ?3) on conflict (workspace, entry) do nothing",
                    values![workspace, entry, batch.now],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Takes entries off the blocklist.
    pub async fn unblock(&self, workspace: i64, entries: Vec<String>) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            for entry in &entries {
                batch.tx.execute(
                    "delete from block where workspace = ?1 and entry = ?2",
                    values![workspace, entry],
                )?;
            }
            Ok(())
        })
        .await
    }
}
