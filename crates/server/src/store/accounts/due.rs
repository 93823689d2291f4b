//! What is due by the clock in accounts whose tables are behind: nobody finds it there.

use std::ops::Bound::{Excluded, Unbounded};

use billing::{Time, ledger::next_due};

use super::super::Error;
use super::super::db::Tx;
use super::Accounts;

/// Workspaces in which something is due, and the next moment at which something will be in another.
pub type Due = (Vec<i64>, Option<Time>);

impl Accounts {
    /// What is due by `now` in accounts that are behind. Asks at most so many of them, round and round.
    pub fn due(&mut self, tx: &Tx<'_>, most: usize, now: Time) -> Result<Due, Error> {
        let ahead: Vec<i64> = self.ahead.keys().copied().take(most).collect();
        self.load_all(tx, ahead.into_iter(), now)?;
        let after = self.behind.range((Excluded(self.asked), Unbounded));
        let before = self.behind.range(..=self.asked);
        let (mut due, mut next) = (Vec::new(), None);
        for workspace in after.chain(before).take(most) {
            self.asked = *workspace;
            match self.cached.get(workspace).and_then(|cached| next_due(&cached.account)) {
                Some(moment) if moment <= now => due.push(*workspace),
                Some(moment) => next = Some(next.map_or(moment, |next: Time| next.min(moment))),
                None => {}
            }
        }
        Ok((due, next))
    }
}
