//! Usage totals, summed anew from the ledger slot by slot and compared with the stored rows of the slot.

use std::collections::BTreeMap;

use rusqlite::Row;

use super::book::Moved;
use super::rows::{Cursor, EntryRow, NoteRow, kind};
use super::{Findings, USAGE};

/// A quarter of an hour, in microseconds.
const SLOT: i64 = 900_000_000;

pub const ROWS: &str =
    "select slot, operation, campaign, member, channel, quantity, credits, not_charged, refunded,
    refunded_credits from usage where workspace = ?1 order by slot";

/// Operation, campaign, member, channel.
type Key = [String; 4];
/// Quantity, credits, not charged, refunded, refunded credits.
type Totals = [i128; 5];

pub fn read(row: &Row<'_>) -> rusqlite::Result<(i64, (Key, Totals))> {
    let mut key: Key = Default::default();
    for (index, text) in key.iter_mut().enumerate() {
        *text = row.get(index + 1)?;
    }
    let mut totals = [0; 5];
    for (index, total) in totals.iter_mut().enumerate() {
        *total = i128::from(row.get::<_, i64>(index + 5)?);
    }
    Ok((row.get(0)?, (key, totals)))
}

/// The totals of the slot that the ledger has reached. Time rises, so an earlier slot is complete.
pub struct Slots<'s> {
    rows: Cursor<'s, (Key, Totals)>,
    slot: i64,
    totals: BTreeMap<Key, Totals>,
}

impl<'s> Slots<'s> {
    pub fn new(rows: Cursor<'s, (Key, Totals)>) -> Slots<'s> {
        Slots { rows, slot: i64::MIN, totals: BTreeMap::new() }
    }

    /// Adds what an entry charged, did not charge, or gave back.
    pub fn add(
        &mut self,
        entry: &EntryRow,
        note: Option<&NoteRow>,
        moved: Moved,
        findings: &mut Findings,
    ) -> rusqlite::Result<()> {
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
        let [campaign, member, channel, ..] = NoteRow::labels(note);
        let key = [entry.operation.clone().unwrap_or_default(), campaign, member, channel];
        let totals = self.totals.entry(key).or_default();
        for (total, more) in totals.iter_mut().zip(add) {
            *total += more;
        }
        Ok(())
    }

    /// Compares the slot with its rows.
    fn finish(&mut self, findings: &mut Findings) -> rusqlite::Result<()> {
        let slot = self.slot;
        while let Some((at, (key, totals))) = self.rows.until(slot)? {
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
    pub fn rest(&mut self, findings: &mut Findings) -> rusqlite::Result<()> {
        self.finish(findings)?;
        while let Some((at, (key, totals))) = self.rows.until(i64::MAX)? {
            findings
                .broken(USAGE, format!("slot {at}, operation {}: {totals:?} is not in the ledger", key[0]));
        }
        Ok(())
    }
}
