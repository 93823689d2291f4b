//! What lists of entries say, beside all entries looked through one by one.

use billing::{EntryKind, Time};
use scrip::store::Store;
use scrip::store::entry::Recorded;
use scrip::store::queries::{EntryFilter, LISTED};

use crate::chance::Chance;

const FILTERS: usize = 40;
const EVERY: i64 = 1_000_000;

/// Filters of every sort give what looking through everything gives.
pub async fn agree(store: &Store, workspace: i64, chance: &mut Chance) {
    let every = EntryFilter { kinds: (0..=12).collect(), ascending: true, ..EntryFilter::default() };
    let all = store.entries(workspace, every, EVERY).await.expect("entries");
    assert!(all.is_sorted_by(|one, next| one.entry.seq < next.entry.seq && one.entry.at < next.entry.at));
    for _ in 0..FILTERS {
        let moment = |chance: &mut Chance| {
            let entry = &all[chance.within(0, all.len() as i64 - 1) as usize].entry;
            (!chance.once_in(3)).then_some(Time(entry.at.0 + chance.within(-1, 1)))
        };
        let (from, to) = (moment(chance), moment(chance));
        let kinds: &[EntryKind] = match chance.within(0, 4) {
            0 => &[EntryKind::Grant],
            1 => &[EntryKind::Adjust, EntryKind::Expire, EntryKind::Revoke, EntryKind::Repay],
            2 => &[EntryKind::Charge, EntryKind::Grant],
            _ => &[],
        };
        let filter = EntryFilter {
            kinds: kinds.iter().map(|kind| *kind as i64).collect(),
            operations: match chance.within(0, 5) {
                0 => vec!["work".to_owned()],
                1 => vec!["nothing".to_owned(), "work".to_owned()],
                _ => Vec::new(),
            },
            cursor: chance.once_in(2).then(|| chance.within(0, all.len() as i64 + 1)),
            ascending: chance.once_in(2),
            from,
            to,
            ..EntryFilter::default()
        };
        let limit = chance.within(1, 50);
        let found = store.entries(workspace, filter.clone(), limit).await.expect("entries");
        let mut expected: Vec<i64> = all
            .iter()
            .filter(|recorded| fits(&filter, recorded))
            .map(|recorded| recorded.entry.seq.0)
            .collect();
        if !filter.ascending {
            expected.reverse();
        }
        expected.truncate(limit as usize);
        let found: Vec<i64> = found.iter().map(|recorded| recorded.entry.seq.0).collect();
        assert_eq!(found, expected, "{filter:?}, at most {limit}");
    }
}

fn fits(filter: &EntryFilter, Recorded { entry, .. }: &Recorded) -> bool {
    let kind = entry.kind as i64;
    let of_kind = if filter.kinds.is_empty() { LISTED.contains(&kind) } else { filter.kinds.contains(&kind) };
    let charged = matches!(entry.kind, EntryKind::Charge | EntryKind::Refund);
    let operation = entry.price.as_ref().filter(|_| charged).map(|price| &*price.operation);
    let beyond = |cursor| if filter.ascending { entry.seq.0 > cursor } else { entry.seq.0 < cursor };
    of_kind
        && (filter.operations.is_empty() || filter.operations.iter().any(|asked| operation == Some(asked)))
        && filter.cursor.is_none_or(beyond)
        && filter.from.is_none_or(|from| entry.at >= from)
        && filter.to.is_none_or(|to| entry.at < to)
}
