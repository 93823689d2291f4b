//! What happens to credits, told so that a person can follow it line by line. See `check` for how a line reads.

use billing::Refusal;

/// Makes a test of each story and a list of all of them.
macro_rules! stories {
    ($($name:ident: $story:literal)*) => {
        $(#[test] fn $name() { check($story); })*
        pub const ALL: &[&str] = &[$($story),*];
    };
}

mod check;
mod grants;
mod holds;

/// Walks the codes as the rules spell them, so that a new refusal fails here until somebody tells its story.
#[test]
fn every_refusal_has_a_story() {
    let source = include_str!("../../src/refusal.rs");
    let codes: Vec<&str> = source
        .lines()
        .filter(|line| line.contains("=> \""))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert_eq!(codes.len(), 10, "{codes:?}");
    // The store gives this one: the rules never see an idempotency key.
    let told = codes.into_iter().filter(|code| *code != "idempotency_key_reused").map(str::to_owned);
    let fields = ["expires_at", "credits", "expires_in_seconds", "seconds", "quantity", "attempted"];
    let fields = fields.map(|field| format!("invalid_field {field}"));
    let statuses = ["open", "dispatched", "in_doubt", "settled", "released"];
    let statuses = statuses.map(|status| format!("hold_not_open {status}"));
    let missing = ["not_found grant", "not_found hold"].map(str::to_owned);
    for answer in told.chain(fields).chain(statuses).chain(missing) {
        let mut stories = grants::ALL.iter().chain(holds::ALL);
        let ending = format!("-> {answer}");
        assert!(stories.any(|story| story.contains(&ending)), "no story ends in {ending}");
    }
}

#[test]
fn a_refusal_is_transient_when_waiting_can_help() {
    let helps = [
        Refusal::TooManyGrants,
        Refusal::TooManyOpenHolds,
        Refusal::InsufficientCredits { needed: 1, available: 0, debt: 0 },
    ];
    assert!(helps.iter().all(|refusal| refusal.transient()));
    let cannot = [Refusal::IdempotencyKeyReused, Refusal::StaleEpoch, Refusal::HoldNotFound];
    assert!(cannot.iter().all(|refusal| !refusal.transient()));
}
