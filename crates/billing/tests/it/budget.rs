//! Which budget refuses, in tables.

use std::sync::Arc;

use billing::Labels;
use billing::budget::{Budget, Per, Scope, Sight, refusal};

fn budget(scope: Scope, label: Option<&str>, credits: i64) -> Budget {
    Budget { scope, label: label.map(Arc::from), per: Per::Day, credits }
}

#[test]
fn work_counts_where_its_labels_say() {
    let labels = |campaign: Option<&str>, member: Option<&str>| Labels {
        campaign: campaign.map(Arc::from),
        member: member.map(Arc::from),
        ..Labels::default()
    };
    let (none, a, b) = (labels(None, None), labels(Some("a"), Some("x")), labels(Some("b"), None));
    for (scope, label, work, under) in [
        (Scope::Workspace, None, &none, Some(None)),
        (Scope::Workspace, None, &a, Some(None)),
        (Scope::Campaign, None, &none, None),
        (Scope::Campaign, None, &a, Some(Some("a"))),
        (Scope::Campaign, Some("a"), &a, Some(Some("a"))),
        (Scope::Campaign, Some("a"), &b, None),
        (Scope::Campaign, Some("a"), &none, None),
        (Scope::Member, None, &a, Some(Some("x"))),
        (Scope::Member, None, &b, None),
        (Scope::Member, Some("a"), &a, None),
    ] {
        let counted = budget(scope, label, 1);
        let counted = counted.counts(work).map(|under| under.map(|label| &**label));
        assert_eq!(counted, under, "{scope:?} {label:?} {work:?}");
    }
}

/// Limit, spent, held and what of that passes; then what is needed, and the limit that refuses with what it says of passing.
type Row = (&'static [(i64, i64, i64, i64)], i64, Option<(i64, i64, bool)>);

#[test]
fn the_tightest_refuses_and_says_what_it_saw() {
    let rows: &[Row] = &[
        (&[], 5, None),
        (&[(10, 0, 0, 0)], 10, None),
        (&[(10, 0, 0, 0)], 11, Some((10, 0, false))),
        (&[(10, 4, 2, 0)], 4, None),
        (&[(10, 4, 2, 0)], 5, Some((10, 6, false))),
        (&[(10, 4, 2, 2)], 5, Some((10, 6, true))),
        (&[(10, 4, 2, 2)], 7, Some((10, 6, false))),
        // The smallest room wins, not the smallest limit; of two alike the first.
        (&[(10, 8, 0, 0), (100, 99, 0, 0)], 5, Some((100, 99, false))),
        (&[(10, 8, 0, 0), (100, 99, 0, 0)], 1, None),
        (&[(10, 9, 0, 0), (100, 99, 0, 0)], 2, Some((10, 9, false))),
        // One that has room does not speak, however tight it is.
        (&[(3, 0, 0, 0), (5, 4, 0, 0)], 2, Some((5, 4, false))),
        // A limit that was lowered below what is used; what is free is never refused.
        (&[(10, 25, 0, 0)], 1, Some((10, 25, false))),
        (&[(10, 25, 0, 0)], 0, None),
        (&[(0, 0, 0, 0)], 1, Some((0, 0, false))),
        // What was given back of an earlier day's charges makes no room beyond the limit.
        (&[(10, -7, 0, 0)], 11, Some((10, 0, false))),
        (&[(10, -7, 3, 0)], 8, Some((10, 3, false))),
        (&[(i64::MAX, i64::MAX, i64::MAX, 0)], 1, Some((i64::MAX, i64::MAX, false))),
    ];
    for (sights, needed, refused) in rows {
        let sight = |(limit, spent, held, passing): &(i64, i64, i64, i64)| Sight {
            budget: budget(Scope::Workspace, None, *limit),
            label: None,
            spent: *spent,
            held: *held,
            passing: *passing,
        };
        let over = refusal(&sights.iter().map(sight).collect::<Vec<_>>(), *needed);
        let said = over.as_ref().map(|over| (over.limit, over.used, over.may_pass));
        assert_eq!(said, *refused, "{sights:?} asked for {needed}");
        assert!(over.is_none_or(|over| over.needed == *needed));
    }
}
