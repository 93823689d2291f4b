//! Every sequence of up to five commands in a world so small that nothing has to be left to chance.

use std::time::Instant;

use billing::ledger::post;
use billing::{
    Account, Amount, Command, GrantKind, GrantTerms, HoldTerms, Outcome, Posted, Price, Seq, Time,
};

use crate::answer::Answer;
use crate::model::Model;

const LONGEST: usize = 5;
const DAY: i64 = 86_400_000_000;

/// One thing that can happen next. Holds and grants are named by what was made last.
#[derive(Clone, Copy, Debug)]
enum Move {
    GrantTwo,
    HoldTwo,
    HoldFour,
    Dispatch,
    SettlePart,
    SettleAll,
    Release,
    Resolve,
    RevokeExpiring,
    RefundOne,
    RefundAll,
    TakeBackThree,
    Wait,
}

const MOVES: [Move; 13] = [
    Move::GrantTwo,
    Move::HoldTwo,
    Move::HoldFour,
    Move::Dispatch,
    Move::SettlePart,
    Move::SettleAll,
    Move::Release,
    Move::Resolve,
    Move::RevokeExpiring,
    Move::RefundOne,
    Move::RefundAll,
    Move::TakeBackThree,
    Move::Wait,
];

#[derive(Clone)]
struct World {
    account: Account,
    model: Model,
    now: Time,
    hold: Seq,
}

#[test]
fn every_small_world_agrees_with_the_auditor() {
    let started = Instant::now();
    let mut world =
        World { account: Account::default(), model: Model::new(), now: Time(1_000 * DAY), hold: Seq(0) };
    world.post(&grant(3, Some(Time(world.now.0 + 4 * DAY))));
    world.post(&grant(3, None));
    let sequences = explore(&world, &mut Vec::new());
    println!(
        "small worlds: no seed, {sequences} sequences of up to {LONGEST} moves, {:?}",
        started.elapsed()
    );
    let every: usize = (1..=LONGEST as u32).map(|length| MOVES.len().pow(length)).sum();
    assert_eq!(sequences, every, "none is left out");
}

fn explore(world: &World, path: &mut Vec<Move>) -> usize {
    if path.len() == LONGEST {
        return 0;
    }
    let mut sequences = 0;
    for step in MOVES {
        path.push(step);
        let mut next = world.clone();
        let told = Told(path);
        next.make(step);
        drop(told);
        sequences += 1 + explore(&next, path);
        path.pop();
    }
    sequences
}

/// Prints the sequence that failed.
struct Told<'a>(&'a [Move]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the sequence that fails: {:?}", self.0);
        }
    }
}

impl World {
    fn make(&mut self, step: Move) {
        let (hold, first, last) = (self.hold, Seq(1), *self.account.grants.keys().next_back().expect("two"));
        let command = match step {
            Move::GrantTwo => grant(2, None),
            Move::HoldTwo => hold_units(1),
            Move::HoldFour => hold_units(2),
            Move::Dispatch => Command::Dispatch { hold, epoch: 0 },
            Move::SettlePart => Command::Settle { hold, quantity: 1, attempted: None },
            Move::SettleAll => Command::Settle { hold, quantity: 2, attempted: None },
            Move::Release => Command::Release(hold),
            Move::Resolve => Command::Resolve { hold, outcome: Outcome::Settled },
            Move::RevokeExpiring => Command::Revoke(first),
            Move::RefundOne => Command::Refund { hold, quantity: Some(1) },
            Move::RefundAll => Command::Refund { hold, quantity: None },
            Move::TakeBackThree => {
                Command::TakeBack { grant: last, credits: Amount::new(3).expect("above zero") }
            }
            Move::Wait => {
                self.now = Time(self.now.0 + 2 * DAY);
                Command::Sweep
            }
        };
        self.post(&command);
    }

    fn post(&mut self, command: &Command) {
        let mut entries = Vec::new();
        let posted = post(&mut self.account, command, self.now, &mut entries);
        let made = if let Ok(Posted::Entry(seq)) = posted { seq } else { Seq(0) };
        assert_eq!(Answer::of(posted), self.model.step(command, self.now, made), "the answer");
        self.model.agree(&self.account);
        if matches!(command, Command::Hold(_)) && made != Seq(0) {
            self.hold = made;
        }
    }
}

fn grant(credits: i64, expires_at: Option<Time>) -> Command {
    let credits = Amount::new(credits).expect("above zero");
    let (kind, priority, effective_at) = (GrantKind::Purchased, 0, Time(0));
    Command::Grant(GrantTerms { credits, kind, priority, effective_at, expires_at })
}

/// Two credits a unit, set aside for three days.
fn hold_units(quantity: i64) -> Command {
    let price = Price { operation: "work".into(), quantity, unit_price: 2, version: 1 };
    Command::Hold(HoldTerms { price, labels: Default::default(), seconds: 3 * 86_400, epoch: 0 })
}
