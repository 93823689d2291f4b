//! Usage totals, summed anew from the ledger slot by slot and compared with the stored rows of the slot.

use std::collections::BTreeMap;

use super::book::Moved;
use super::pages::{Entry, Note};
use super::reader::{Cursor, Read, Row};
use super::rows::kind;
use super::{Findings, USAGE};

/// A quarter of an hour, in microseconds.
const SLOT: i64 = 900_000_000;

pub const ROWS: &str =
    "select workspace, slot, operation, campaign, member, channel, quantity, credits, not_charged, refunded,
    refunded_credits from usage where {here} order by workspace, slot";

/// Operation, campaign, member, channel.
pub type Key = [String; 4];
/// Quantity, credits, not charged, refunded, refunded credits.
pub type Totals = [i128; 5];
/// A row but for its slot.
pub type Stored = (Key, Totals);

pub fn read(row: &Row<'_>) -> Read<(i64, Stored)> {
    let mut key: Key = Default::default();
    for (index, text) in key.iter_mut().enumerate() {
        *text = row.get(index + 2)?;
    }
    let mut totals = [0; 5];
    for (index, total) in totals.iter_mut().enumerate() {
        *total = i128::from(row.get::<i64>(index + 6)?);
    }
    Ok((row.get(1)?, (key, totals)))
}

/// The totals of the slot that the ledger has reached. Time rises, so an earlier slot is complete.
pub struct Slots<'t, 's> {
    rows: &'t mut Cursor<'s, Stored>,
    workspace: i64,
    slot: i64,
    totals: BTreeMap<Key, Totals>,
}

impl<'t, 's> Slots<'t, 's> {
    pub fn new(workspace: i64, rows: &'t mut Cursor<'s, Stored>) -> Slots<'t, 's> {
        Slots { rows, workspace, slot: i64::MIN, totals: BTreeMap::new() }
    }

    /// Adds what an entry charged, did not charge, or gave back.
    pub fn add(
        &mut self,
        entry: &Entry<'_>,
        note: Option<&Note<'_>>,
        moved: Moved,
        findings: &mut Findings,
    ) -> Read<()> {
        let (quantity, tried) = (i128::from(entry.quantity.unwrap_or(0)), i128::from(entry.attempted));
        let add: Totals = match entry.kind {
            kind::CHARGE => [quantity, -moved.amount, tried - quantity, 0, 0],
            kind::RELEASE if tried > 0 => [0, 0, tried, 0, 0],
            kind::REFUND => [0, 0, 0, quantity, moved.amount],
            _ => return Ok(()),
        };
        let slot = entry.at.div_euclid(SLOT).saturating_mul(SLOT);
        if slot > self.slot {
            self.finish(findings)?;
            self.slot = slot;
        }
        let [campaign, member, channel, ..] = Note::labels(note);
        let key = [entry.operation.unwrap_or_default(), campaign, member, channel].map(str::to_owned);
        let totals = self.totals.entry(key).or_default();
        for (total, more) in totals.iter_mut().zip(add) {
            *total += more;
        }
        Ok(())
    }

    /// Compares the slot with its rows.
    fn finish(&mut self, findings: &mut Findings) -> Read<()> {
        let slot = self.slot;
        while let Some((at, (key, totals))) = self.rows.until(self.workspace, slot)? {
            let known = if at == slot { self.totals.remove(&key) } else { None };
            findings.check(known == Some(totals), USAGE, || {
                format!("slot {at}, operation {}: stored {totals:?}, the ledger gives {known:?}", key[0])
            });
        }
        for (key, totals) in std::mem::take(&mut self.totals) {
            findings.broken(USAGE, format!("slot {slot}, operation {}: {totals:?} is not stored", key[0]));
        }
        Ok(())
    }

    /// Rows after the last slot of the ledger.
    pub fn rest(&mut self, findings: &mut Findings) -> Read<()> {
        self.finish(findings)?;
        while let Some((at, (key, totals))) = self.rows.next(self.workspace)? {
            findings
                .broken(USAGE, format!("slot {at}, operation {}: {totals:?} is not in the ledger", key[0]));
        }
        Ok(())
    }
}
