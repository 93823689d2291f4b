//! Lists of holds.

use std::collections::BTreeMap;

use billing::account::{Hold, HoldStatus};
use billing::{Entry, Seq};

use crate::store::db::Tx;
use crate::store::ledger::{HOLD, OPEN, read_hold};
use crate::store::page::{self, Holds, Walk};
use crate::store::{Error, Store, codec};
use crate::values;

impl Store {
    /// Holds, newest first, of one status or all.
    pub async fn holds(
        &self,
        workspace: i64,
        status: Option<i64>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Hold>, Error> {
        let status = status.map(codec::hold_status);
        let (before, limit) = (Seq(before.unwrap_or(i64::MAX)), usize::try_from(limit).unwrap_or(0));
        self.read_ledger(Some(workspace), move |tx| holds(tx, workspace, before, status, limit)).await
    }

    /// Holds of a campaign and a person (empty: of any) that set credits aside, newest first, and the credits of all of them.
    pub async fn open_holds(
        &self,
        workspace: i64,
        (campaign, member): (String, String),
        before: Option<i64>,
        limit: i64,
    ) -> Result<(Vec<Hold>, i64), Error> {
        let (before, limit) = (Seq(before.unwrap_or(i64::MAX)), usize::try_from(limit).unwrap_or(0));
        self.read_ledger(Some(workspace), move |tx| {
            open_holds(tx, workspace, (&campaign, &member), before, limit)
        })
        .await
    }
}

/// Holds that were made before an entry, newest first, whatever became of them, or of one status.
fn holds(
    tx: &Tx<'_>,
    workspace: i64,
    before: Seq,
    status: Option<HoldStatus>,
    most: usize,
) -> Result<Vec<Hold>, Error> {
    if status.is_some_and(|status| status < HoldStatus::Settled) {
        let open = format!(
            "{HOLD} where workspace = ?1 and {OPEN} and id < ?2 and status = ?3 order by id desc limit ?4"
        );
        return tx.query(
            &open,
            values![workspace, before, status.map(|status| status as i64), most],
            read_hold,
        );
    }
    let (mut found, mut newest) = (Vec::new(), None);
    // What the pages before say of holds that were made in older ones.
    let mut later: BTreeMap<(Seq, Seq), Entry> = BTreeMap::new();
    let walk = Walk { cursor: before.0, ascending: false, ..Walk::all(workspace) };
    walk.pages(tx, |page| {
        let rows = format!("{HOLD} where workspace = ?1 and id >= ?2 and id <= ?3");
        let rows = tx.query(&rows, values![workspace, page.first, page.seq], read_hold)?;
        let rows: Holds = rows.into_iter().map(|hold| (hold.id, hold)).collect();
        let mut known = Holds::new();
        for recorded in page.run().entries() {
            let entry = recorded?.entry;
            match entry.hold.filter(|id| *id < page.first) {
                Some(id) => drop(later.insert((id, entry.seq), entry)),
                None => page::follow(&mut known, &entry, |made| !rows.contains_key(&made)),
            }
        }
        let about = later.split_off(&(page.first, Seq(0)));
        about.values().for_each(|entry| page::follow(&mut known, entry, |_| false));
        page::until_ended(tx, workspace, *newest.get_or_insert(page.seq), &mut known)?;
        known.extend(rows);
        let fits = |hold: &Hold| hold.id < before && status.is_none_or(|status| hold.status == status);
        found.extend(known.into_values().rev().filter(fits));
        Ok(found.len() < most)
    })?;
    found.truncate(most);
    Ok(found)
}

/// Holds of a campaign and a person (empty: of any) that set credits aside, newest first, and the credits of all of them.
fn open_holds(
    tx: &Tx<'_>,
    workspace: i64,
    (campaign, member): (&str, &str),
    before: Seq,
    most: usize,
) -> Result<(Vec<Hold>, i64), Error> {
    let open = format!(
        "workspace = ?1 and {OPEN} and (cast(?2 as text) = '' or campaign = ?2) and (cast(?3 as text) = '' or member = ?3)"
    );
    let holds = format!("{HOLD} where {open} and id < ?4 order by id desc limit ?5");
    let holds = tx.query(&holds, values![workspace, campaign, member, before, most], read_hold)?;
    let all =
        format!("select cast(coalesce(sum(quantity * unit_price), 0) as bigint) from hold where {open}");
    Ok((holds, tx.int(&all, values![workspace, campaign, member])?))
}
