//! What is corrupted in a copy of the sample in the bytes of its entries, notes and keys.

use super::forge::{Forge, Ledger};
use super::form::Entry;

/// A corruption of entries and notes, and the invariant that it breaks.
pub type Forgery = (&'static str, fn(&mut Ledger), &'static str);

/// A corruption of keys that are in a segment alone, and the invariant that it breaks.
pub type KeyForgery = (&'static str, fn(&Forge<'_>), &'static str);

/// Kinds of entries.
const HOLD: u8 = 3;
const DISPATCH: u8 = 4;
const EXTEND: u8 = 5;
const CHARGE: u8 = 7;
const EXPIRE: u8 = 9;
const REFUND: u8 = 11;
/// Buckets of a posting, from the first to the second.
const ISSUED_AVAILABLE: u8 = 0x02;
const AVAILABLE_HELD: u8 = 0x23;
const AVAILABLE_CONSUMED: u8 = 0x24;
const HELD_CONSUMED: u8 = 0x34;

fn is_charge(entry: &Entry) -> bool {
    entry.kind == CHARGE && entry.hold == Some(entry.seq)
}

fn is_settle(entry: &Entry) -> bool {
    entry.kind == CHARGE && entry.hold != Some(entry.seq)
}

fn price(entry: &mut Entry) -> &mut [i64; 3] {
    &mut entry.price.as_mut().expect("a price").1
}

#[rustfmt::skip]
pub const LEDGERS: &[Forgery] = &[
    ("an entry deleted", |ledger| ledger.remove(|entry| entry.seq == 9), "I02"),
    ("the last entry deleted", |ledger| drop(ledger.0.last_mut().expect("a page").entries.pop()), "I02"),
    ("an entry twice", |ledger| { let entry = ledger.at(9).clone(); ledger.0.last_mut().expect("a page").entries.push(entry); }, "I02"),
    ("two entries in each other's place", |ledger| { let (five, six) = (ledger.at(5).clone(), ledger.at(6).clone()); *ledger.at(5) = Entry { seq: 5, ..six }; *ledger.at(6) = Entry { seq: 6, ..five }; }, "I03"),
    ("an entry restamped before the one before", |ledger| ledger.at(12).at -= 900_000_000_000, "I03"),
    ("an entry's note taken off", |ledger| ledger.first(|entry| entry.note.is_some()).note = None, "I05"),
    ("a note's reason edited", |ledger| { let (page, index) = ledger.note(|note| !note.2[5].is_empty()); page.notes[index].2[5] = b"for love".to_vec(); }, "I05"),
    ("a note's label edited", |ledger| { let (page, index) = ledger.note(|note| note.2[0] == b"spring"); page.notes[index].2[0] = b"autumn".to_vec(); }, "I05"),
    ("a note's salt changed", |ledger| { let (page, index) = ledger.note(|_| true); page.notes[index].1[3] ^= 1; }, "I05"),
    ("a note deleted", |ledger| { let (page, index) = ledger.note(|_| true); page.notes.remove(index); }, "I05"),
    ("a note of no entry", |ledger| { let (page, index) = ledger.note(|_| true); page.notes[index].0 = 9_999; }, "I05"),
    ("a note of another entry", |ledger| { let (page, index) = ledger.note(|_| true); page.notes[index].0 += 1; }, "I05"),
    ("a note twice", |ledger| { let (page, index) = ledger.note(|_| true); let note = page.notes[index].clone(); page.notes.insert(index, note); }, "I05"),
    ("an amount changed", |ledger| ledger.first(is_charge).amount += 1, "I06"),
    ("an available after changed", |ledger| ledger.at(8).available += 1, "I06"),
    ("a balance after changed", |ledger| ledger.at(8).balance -= 1, "I06"),
    ("a posting's credits changed", |ledger| ledger.first(|entry| entry.postings.iter().any(|posting| posting.1 == ISSUED_AVAILABLE)).postings[0].2 += 1, "I06"),
    ("a posting between wrong buckets", |ledger| ledger.first(|entry| entry.kind == HOLD).postings[0].1 = AVAILABLE_CONSUMED, "I09"),
    ("a posting of nothing", |ledger| ledger.first(|entry| entry.kind == HOLD).postings.push((1, AVAILABLE_HELD, 0)), "I09"),
    ("a posting of less than nothing", |ledger| ledger.first(|entry| entry.kind == HOLD).postings[0].2 = -1, "I09"),
    ("a posting of another grant", |ledger| ledger.first(|entry| entry.kind == EXPIRE).postings[0].0 = 9_999, "I09"),
    ("a posting of a bucket that is none", |ledger| ledger.first(|entry| entry.kind == HOLD).postings[0].1 = 0x2f, "I27"),
    ("a grant without terms", |ledger| ledger.at(1).terms = None, "I09"),
    ("a grant of other terms", |ledger| ledger.at(1).terms.as_mut().expect("terms")[0] += 1, "I09"),
    ("a grant that expired too early", |ledger| { let id = ledger.first(|entry| entry.kind == EXPIRE).grant; ledger.first(|entry| Some(entry.seq) == id).until.as_mut().expect("an end").add_days(10); }, "I09"),
    ("an entry of a kind that is none", |ledger| ledger.at(8).kind = 77, "I09"),
    ("debt out of nothing", |ledger| ledger.first(is_charge).odd[2] = 5, "I09"),
    ("more consumed than was there", |ledger| ledger.first(is_settle).postings.iter_mut().for_each(|posting| if posting.1 == HELD_CONSUMED { posting.2 += 600 }), "I10"),
    ("a grant's end changed", |ledger| ledger.first(|entry| entry.terms.is_some() && entry.until.is_some()).until.as_mut().expect("an end").add_days(-1), "I11"),
    ("a grant's priority changed", |ledger| ledger.first(|entry| entry.terms.is_some()).terms.as_mut().expect("terms")[2] += 1, "I11"),
    ("a hold charged twice", |ledger| ledger.first(|entry| entry.kind == REFUND).kind = CHARGE, "I13"),
    ("an entry about no hold", |ledger| ledger.first(|entry| entry.kind == DISPATCH).hold = Some(9_999), "I13"),
    ("a hold's label in one entry alone", |ledger| { let (page, index) = ledger.note(|note| note.2[1] == b"ann"); page.notes[index].2[1] = b"bob".to_vec(); }, "I13"),
    ("a hold open beyond its end", |ledger| ledger.entries().filter(|entry| entry.kind == EXTEND).for_each(|entry| entry.until = Some(entry.at + 1)), "I14"),
    ("a hold opened for too long", |ledger| ledger.first(|entry| entry.kind == HOLD).until.as_mut().expect("an end").add_days(70), "I14"),
    ("a settle beyond its hold", |ledger| price(ledger.first(is_settle))[0] = 9, "I15"),
    ("a charge at another price", |ledger| price(ledger.first(is_charge))[1] += 1, "I15"),
    ("a hold without price", |ledger| ledger.first(|entry| entry.kind == HOLD).price = None, "I15"),
    ("a refund beyond its charge", |ledger| price(ledger.first(|entry| entry.kind == REFUND))[0] = 100, "I15"),
    ("an attempt that was none", |ledger| ledger.first(is_charge).odd[1] += 1, "I15"),
    ("a hold of another version", |ledger| price(ledger.first(|entry| entry.kind == HOLD))[2] += 1, "I15"),
    ("a dispatch under another epoch", |ledger| ledger.first(|entry| entry.kind == DISPATCH && entry.odd[0] > 0).odd[0] += 1, "I17"),
    ("a send without dispatch", |ledger| { let entry = ledger.first(|entry| entry.kind == DISPATCH && entry.odd[0] > 0); entry.kind = EXTEND; entry.until = Some(entry.at + 1); }, "I17"),
    ("a key's entry deleted", |ledger| ledger.remove(is_charge), "I19"),
    ("usage of another operation", |ledger| ledger.first(is_charge).price.as_mut().expect("a price").0 = b"mail".to_vec(), "I22"),
    ("an operation that is not listed", |ledger| ledger.first(is_charge).price.as_mut().expect("a price").0 = b"mail".to_vec(), "I27"),
    ("an actor changed", |ledger| ledger.at(4).actor = b"key_2".to_vec(), "I24"),
];

/// What leaves the chain alone, so that nothing but the chain can show it.
#[rustfmt::skip]
pub const LINKS: &[Forgery] = &[
    ("an entry restamped by a little", |ledger| ledger.last().at += 1, "I04"),
    ("an entry's actor changed", |ledger| ledger.at(4).actor = b"key_2".to_vec(), "I04"),
    ("a reason given to a release", |ledger| ledger.at(4).release = Some(1), "I04"),
];

trait Days {
    fn add_days(&mut self, days: i64);
}

impl Days for i64 {
    fn add_days(&mut self, days: i64) {
        *self += days * 86_400_000_000;
    }
}

#[rustfmt::skip]
pub const KEYS: &[KeyForgery] = &[
    ("a key missing from its segment", |forge| forge.seal(|keys| drop(keys.remove(3))), "I19"),
    ("the last key missing from its segment", |forge| forge.seal(|keys| drop(keys.pop())), "I19"),
    ("a row of keys missing", |forge| forge.seal(|keys| drop(keys.drain(4..8))), "I19"),
    ("a key added to its segment", |forge| forge.seal(|keys| { let mut key = keys[3].clone(); key.0.push(b'x'); keys.insert(4, key) }), "I19"),
    ("a key twice in its segment", |forge| forge.seal(|keys| keys.insert(4, keys[3].clone())), "I19"),
    ("a key of another name", |forge| forge.seal(|keys| keys[3].0.push(b'x')), "I19"),
    ("a key of an entry of another kind", |forge| forge.seal(|keys| { let own = own(forge, keys, HOLD_KEY); keys[own[0]].2 = 2 }), "I19"),
    ("a key of an entry that has one", |forge| forge.seal(|keys| { let own = own(forge, keys, HOLD_KEY); keys[own[1]].2 = keys[own[0]].2 }), "I19"),
    ("a key of an entry that is none", |forge| forge.seal(|keys| { let own = own(forge, keys, HOLD_KEY); keys[own[0]].2 = 9_999 }), "I19"),
    ("a period's key of another grant", |forge| forge.seal(|keys| { let own = own(forge, keys, PERIOD_KEY); let other = own.into_iter().find(|index| keys[*index].2 > 1); keys[other.expect("another")].2 = 1 }), "I21"),
    ("keys out of order", |forge| forge.seal(|keys| keys.swap(4, 5)), "I19"),
    ("a row of keys under another name", |forge| { forge.seal(|_| ()); forge.run("update request set first = cast(first || unhex('00') as blob) where partition = {at} and segment = 1") }, "I19"),
    ("a row of keys cut", |forge| { forge.seal(|_| ()); forge.run("update request set keys = substr(keys, 1, length(keys) - 1) where partition = {at} and segment = 1") }, "I19"),
    ("a filter that denies", |forge| { forge.seal(|_| ()); forge.run("update request_segment set filter = zeroblob(length(filter))") }, "I19"),
    ("a filter that is short", |forge| { forge.seal(|_| ()); forge.run("update request_segment set filter = substr(filter, 1, length(filter) - 1)") }, "I19"),
    ("a segment that was never finished", |forge| { forge.seal(|_| ()); forge.run("delete from request_segment") }, "I19"),
    ("a segment out of turn", |forge| { forge.seal(|_| ()); forge.run("update request set segment = 3 where segment = 1; update request_segment set segment = 3") }, "I19"),
    ("keys in another partition", |forge| { forge.seal(|_| ()); forge.run("update request set partition = partition + 1 where partition = {at}; update request_segment set partition = partition + 1") }, "I25"),
    ("a key of a workspace that is gone", |forge| forge.put_keys(0, &[([&42_i64.to_be_bytes()[..], b"\x06gone"].concat(), [0; 16], 1)]), "I01"),
    ("a key of no top-up", |forge| { forge.run("delete from request where partition = {at} and segment = 0"); forge.put_keys(0, &[(forge.name(6, "order-3"), [0; 16], 42)]) }, "I19"),
    ("a key of a kind that is none", |forge| forge.put_keys(0, &[(forge.name(77, "k"), [0; 16], 1)]), "I19"),
    ("a key in the journal and another in its segment", |forge| forge.put_keys(1, &[(forge.name(3, "key-1"), [7; 16], 3)]), "I19"),
    ("a key in the journal and of another command in its segment", |forge| forge.put_keys(1, &[(forge.name(3, "key-1"), [8; 16], 2)]), "I19"),
    ("a key of a hold that ended in its page is of a row that says otherwise", |forge| forge.run(ENDED_ROW), "I16"),
    ("a hold changed after its page is of no row", |forge| forge.run("delete from hold where workspace = {main} and status >= 3"), "I16"),
];

/// A row for a charge, which needs none, that says that it was released.
const ENDED_ROW: &str = "insert into hold
    select {same}workspace, (select max(seq) from page where workspace = {main}), 4, opened_at, operation, quantity, unit_price,
      version, epoch, '', ends_at, 0, 0, 0, 0, ended_at, campaign, member, channel, reference, lead
    from hold where workspace = {main} order by id limit 1";

/// Kinds of keys.
const HOLD_KEY: u8 = 1;
const PERIOD_KEY: u8 = 8;

/// Where the main workspace's keys of a kind are.
fn own(forge: &Forge<'_>, keys: &[super::forge::Key], kind: u8) -> Vec<usize> {
    let start = forge.name(kind, "");
    (0..keys.len()).filter(|index| keys[*index].0.starts_with(&start)).collect()
}
