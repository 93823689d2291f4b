//! The auditor: a second ledger, written from the text of the rules, that predicts every answer.
//!
//! Each credit is one record and lies in one place; whatever is asked is counted anew. It is slow, and too simple to be
//! wrong in the same way as the rules. It does *not* know the limits on sizes: the stories do.

use billing::{Account, Command, GrantKind, GrantTerms, HoldStatus, HoldTerms, Outcome, Seq, Time};

use crate::answer::{ALREADY, Answer, OK};

const DAY: i64 = 86_400_000_000;

/// Where one credit lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Later,
    Free,
    Held(Seq),
    Used(Seq),
    Expired,
    Revoked,
    Repaid,
}

#[derive(Clone)]
struct Credit {
    lot: usize,
    place: Place,
}

#[derive(Clone)]
struct Lot {
    id: Seq,
    terms: GrantTerms,
    revoked: bool,
}

#[derive(Clone)]
struct Hold {
    id: Seq,
    quantity: i64,
    unit_price: i64,
    epoch: i64,
    status: HoldStatus,
    ends_at: Time,
    lapsed: bool,
    settled: i64,
    refunded: i64,
}

/// The naive ledger of one workspace. The credits lie in burn-down order: "the first" is always "the next to pay".
#[derive(Clone)]
pub struct Model {
    credits: Vec<Credit>,
    lots: Vec<Lot>,
    holds: Vec<Hold>,
    debt: i64,
    looked: Time,
}

impl Model {
    pub fn new() -> Model {
        Model { credits: vec![], lots: vec![], holds: vec![], debt: 0, looked: Time(i64::MIN) }
    }

    /// Predicts the answer to a command. `id` is the name of whatever the command makes.
    pub fn step(&mut self, command: &Command, now: Time, id: Seq) -> Answer {
        self.pass_time(now);
        let answer = self.obey(command, now, id).err().unwrap_or(OK);
        self.become_due(now);
        answer
    }

    /// Lives through every moment at which something happens by itself, as somebody who never sleeps would.
    fn pass_time(&mut self, now: Time) {
        while self.looked < now {
            let of_lots =
                self.lots.iter().flat_map(|lot| [Some(lot.terms.effective_at), lot.terms.expires_at]);
            let of_holds = self.holds.iter().filter(|hold| is_open(hold)).map(|hold| Some(hold.ends_at));
            let later = of_lots.chain(of_holds).flatten().filter(|moment| *moment > self.looked);
            self.looked = later.min().map_or(now, |moment| moment.min(now));
            self.become_due(self.looked);
        }
        self.looked = now;
    }

    fn become_due(&mut self, moment: Time) {
        for index in 0..self.holds.len() {
            let hold = &mut self.holds[index];
            if is_open(hold) && hold.ends_at <= moment {
                if hold.status == HoldStatus::Dispatched {
                    (hold.status, hold.ends_at) = (HoldStatus::InDoubt, Time(hold.ends_at.0 + 3 * DAY));
                } else {
                    hold.lapsed = true;
                    self.release(index);
                }
            }
        }
        let lots = &self.lots;
        for credit in &mut self.credits {
            let lot = &lots[credit.lot];
            if credit.place == Place::Later && lot.terms.effective_at <= moment {
                credit.place = Place::Free;
            }
            if credit.place == Place::Free && lot.revoked {
                credit.place = Place::Revoked;
            }
            if credit.place == Place::Free && lot.terms.expires_at.is_some_and(|at| at <= moment) {
                credit.place = Place::Expired;
            }
        }
        if self.debt > 0 {
            self.debt -= self.carry(Place::Free, Place::Repaid, self.debt);
        }
    }

    /// Carries the first `count` credits from one place to another; says how many there were.
    fn carry(&mut self, from: Place, to: Place, count: i64) -> i64 {
        let found = self.credits.iter_mut().filter(|credit| credit.place == from);
        found.take(count as usize).map(|credit| credit.place = to).count() as i64
    }

    fn count(&self, place: impl Fn(Place) -> bool) -> i64 {
        self.credits.iter().filter(|credit| place(credit.place)).count() as i64
    }

    fn free(&self) -> i64 {
        self.count(|place| place == Place::Free)
    }

    fn obey(&mut self, command: &Command, now: Time, id: Seq) -> Result<(), Answer> {
        match command {
            Command::Grant(terms) => self.grant(terms.clone(), now, id),
            Command::Revoke(grant) => self.revoke(*grant),
            Command::Adjust(credits) => self.adjust(*credits, now, id),
            Command::TakeBack { grant, credits } => self.take_back(*grant, credits.get()),
            Command::Hold(terms) => self.hold(terms, HoldStatus::Open, now, id),
            Command::Charge(terms) => self.hold(terms, HoldStatus::Settled, now, id),
            Command::Dispatch { hold, epoch } => self.dispatch(*hold, *epoch),
            Command::Extend { hold, seconds } => self.extend(*hold, *seconds, now),
            Command::Doubt(hold) => self.doubt(*hold, now),
            Command::Settle { hold, quantity, attempted } => self.settle(*hold, *quantity, *attempted, now),
            Command::Release(hold) => self.give_up(*hold),
            Command::Resolve { hold, outcome } => self.resolve(*hold, *outcome, now),
            Command::Refund { hold, quantity } => self.refund(*hold, *quantity),
            Command::Sweep => Err(ALREADY),
        }
    }

    fn grant(&mut self, terms: GrantTerms, now: Time, id: Seq) -> Result<(), Answer> {
        if terms.expires_at.is_some_and(|at| at <= now || at <= terms.effective_at) {
            return Err(Answer::no("invalid_field", "expires_at"));
        }
        let place = if terms.effective_at > now { Place::Later } else { Place::Free };
        let credit = Credit { lot: self.lots.len(), place };
        self.credits.extend((0..terms.credits.get()).map(|_| credit.clone()));
        self.lots.push(Lot { id, terms, revoked: false });
        let lots = &self.lots;
        self.credits.sort_by_key(|credit| turn(&lots[credit.lot]));
        Ok(())
    }

    fn lot(&self, id: Seq) -> Result<usize, Answer> {
        self.lots.iter().position(|lot| lot.id == id).ok_or(Answer::no("not_found", "grant"))
    }

    fn revoke(&mut self, id: Seq) -> Result<(), Answer> {
        let lot = self.lot(id)?;
        if self.lots[lot].revoked {
            return Err(ALREADY);
        }
        self.lots[lot].revoked = true;
        let unspent = |credit: &&mut Credit| matches!(credit.place, Place::Later | Place::Free);
        let own = self.credits.iter_mut().filter(|credit| credit.lot == lot).filter(unspent);
        own.for_each(|credit| credit.place = Place::Revoked);
        Ok(())
    }

    fn adjust(&mut self, credits: i64, now: Time, id: Seq) -> Result<(), Answer> {
        let Some(amount) = billing::Amount::new(credits.saturating_abs()) else {
            return Err(Answer::no("invalid_field", "credits"));
        };
        if credits > 0 {
            let (kind, priority, effective_at, expires_at) = (GrantKind::Goodwill, 0, now, None);
            return self.grant(
                GrantTerms { credits: amount, kind, priority, effective_at, expires_at },
                now,
                id,
            );
        }
        self.debt += amount.get() - self.carry(Place::Free, Place::Revoked, amount.get());
        Ok(())
    }

    fn take_back(&mut self, id: Seq, credits: i64) -> Result<(), Answer> {
        let lot = self.lot(id)?;
        let unspent = |credit: &&mut Credit| matches!(credit.place, Place::Later | Place::Free);
        let own = self.credits.iter_mut().filter(|credit| credit.lot == lot).filter(unspent);
        let from_own = own.take(credits as usize).map(|credit| credit.place = Place::Revoked).count() as i64;
        let from_others = self.carry(Place::Free, Place::Revoked, credits - from_own);
        self.debt += credits - from_own - from_others;
        Ok(())
    }

    fn hold(&mut self, terms: &HoldTerms, status: HoldStatus, now: Time, id: Seq) -> Result<(), Answer> {
        if !(1..=7 * 86_400).contains(&terms.seconds) {
            return Err(Answer::no("invalid_field", "expires_in_seconds"));
        }
        let (quantity, unit_price, epoch) = (terms.price.quantity, terms.price.unit_price, terms.epoch);
        let needed = quantity * unit_price;
        if self.free() < needed {
            return Err(Answer::short(needed, self.free()));
        }
        let charged = status == HoldStatus::Settled;
        self.carry(Place::Free, if charged { Place::Used(id) } else { Place::Held(id) }, needed);
        let (ends_at, settled) = (now.plus_seconds(terms.seconds), if charged { quantity } else { 0 });
        let (lapsed, refunded) = (false, 0);
        let hold = Hold { id, quantity, unit_price, epoch, status, ends_at, lapsed, settled, refunded };
        self.holds.push(hold);
        Ok(())
    }

    fn find(&self, id: Seq) -> Result<usize, Answer> {
        self.holds.iter().position(|hold| hold.id == id).ok_or(Answer::no("not_found", "hold"))
    }

    fn dispatch(&mut self, id: Seq, epoch: i64) -> Result<(), Answer> {
        let index = self.find(id)?;
        let hold = &mut self.holds[index];
        if !matches!(hold.status, HoldStatus::Open | HoldStatus::Dispatched) {
            return Err(Answer::not_open(hold.status));
        }
        if hold.epoch != epoch {
            return Err(Answer::no("stale_epoch", ""));
        }
        if hold.status == HoldStatus::Dispatched {
            return Err(ALREADY);
        }
        hold.status = HoldStatus::Dispatched;
        Ok(())
    }

    fn extend(&mut self, id: Seq, seconds: i64, now: Time) -> Result<(), Answer> {
        if !(1..=7 * 86_400).contains(&seconds) {
            return Err(Answer::no("invalid_field", "seconds"));
        }
        let index = self.find(id)?;
        let hold = &mut self.holds[index];
        if !matches!(hold.status, HoldStatus::Open | HoldStatus::Dispatched) {
            return Err(Answer::not_open(hold.status));
        }
        if now.plus_seconds(seconds) <= hold.ends_at {
            return Err(ALREADY);
        }
        hold.ends_at = now.plus_seconds(seconds);
        Ok(())
    }

    fn doubt(&mut self, id: Seq, now: Time) -> Result<(), Answer> {
        let index = self.find(id)?;
        let hold = &mut self.holds[index];
        match hold.status {
            HoldStatus::InDoubt => Err(ALREADY),
            HoldStatus::Dispatched => {
                (hold.status, hold.ends_at) = (HoldStatus::InDoubt, Time(now.0 + 3 * DAY));
                Ok(())
            }
            status => Err(Answer::not_open(status)),
        }
    }

    fn settle(&mut self, id: Seq, units: i64, attempted: Option<i64>, now: Time) -> Result<(), Answer> {
        if units < 0 {
            return Err(Answer::no("invalid_field", "quantity"));
        }
        let index = self.find(id)?;
        let hold = self.holds[index].clone();
        let released = hold.status == HoldStatus::Released;
        if (released && units == 0) || (hold.status == HoldStatus::Settled && units == hold.settled) {
            return Err(ALREADY);
        }
        let late = released && hold.lapsed && now.0 <= hold.ends_at.0 + 30 * DAY;
        if !is_open(&hold) && !late {
            return Err(Answer::not_open(hold.status));
        }
        if units > hold.quantity {
            return Err(Answer::beyond("settle_exceeds_hold", hold.quantity));
        }
        if attempted.is_some_and(|tried| tried < units || tried > hold.quantity) {
            return Err(Answer::no("invalid_field", "attempted"));
        }
        let needed = units * hold.unit_price;
        if late && self.free() < needed {
            return Err(Answer::short(needed, self.free()));
        }
        if units == 0 {
            self.release(index);
            return Ok(());
        }
        // A late settle pays from whoever is next to pay; any other from what was set aside.
        self.carry(if late { Place::Free } else { Place::Held(id) }, Place::Used(id), needed);
        self.carry(Place::Held(id), Place::Free, i64::MAX);
        (self.holds[index].status, self.holds[index].settled) = (HoldStatus::Settled, units);
        Ok(())
    }

    fn release(&mut self, index: usize) {
        self.holds[index].status = HoldStatus::Released;
        self.carry(Place::Held(self.holds[index].id), Place::Free, i64::MAX);
    }

    fn give_up(&mut self, id: Seq) -> Result<(), Answer> {
        let index = self.find(id)?;
        match self.holds[index].status {
            HoldStatus::Released => return Err(ALREADY),
            HoldStatus::Settled => return Err(Answer::not_open(HoldStatus::Settled)),
            _ => self.release(index),
        }
        Ok(())
    }

    fn resolve(&mut self, id: Seq, outcome: Outcome, now: Time) -> Result<(), Answer> {
        let index = self.find(id)?;
        let wanted = match outcome {
            Outcome::Settled => HoldStatus::Settled,
            Outcome::Released => HoldStatus::Released,
        };
        match self.holds[index].status {
            HoldStatus::InDoubt if wanted == HoldStatus::Released => self.give_up(id),
            HoldStatus::InDoubt => self.settle(id, self.holds[index].quantity, None, now),
            status if status == wanted => Err(ALREADY),
            status => Err(Answer::not_open(status)),
        }
    }

    fn refund(&mut self, id: Seq, units: Option<i64>) -> Result<(), Answer> {
        if units.is_some_and(|units| units < 1) {
            return Err(Answer::no("invalid_field", "quantity"));
        }
        let index = self.find(id)?;
        let hold = &mut self.holds[index];
        if hold.status != HoldStatus::Settled {
            return Err(Answer::not_open(hold.status));
        }
        let left = hold.settled - hold.refunded;
        let units = units.unwrap_or(left);
        if left == 0 || units > left {
            return Err(Answer::beyond("refund_exceeds_settled", left));
        }
        hold.refunded += units;
        // What was taken last is the first to return.
        let credits = (units * hold.unit_price) as usize;
        let used = self.credits.iter_mut().rev().filter(|credit| credit.place == Place::Used(id));
        used.take(credits).for_each(|credit| credit.place = Place::Free);
        Ok(())
    }

    /// Fails when the account is not what the naive ledger says, in any total or any bucket of any grant.
    pub fn agree(&self, account: &Account) {
        let held = self.count(|place| matches!(place, Place::Held(_)));
        let totals = (account.available, account.held, account.debt);
        assert_eq!(totals, (self.free(), held, self.debt), "available, held, debt");
        let mut buckets = vec![[0; 7]; self.lots.len()];
        for credit in &self.credits {
            buckets[credit.lot][bucket(credit.place)] += 1;
        }
        assert_eq!(account.grants.len(), self.lots.len(), "number of grants");
        for ((lot, mine), grant) in self.lots.iter().zip(buckets).zip(account.grants.values()) {
            let spent = [grant.consumed, grant.expired, grant.revoked, grant.repaid];
            let [consumed, expired, revoked, repaid] = spent;
            let theirs = [grant.scheduled, grant.available, grant.held, consumed, expired, revoked, repaid];
            assert_eq!((grant.id, theirs), (lot.id, mine), "the buckets of a grant");
        }
    }
}

fn is_open(hold: &Hold) -> bool {
    !matches!(hold.status, HoldStatus::Settled | HoldStatus::Released)
}

/// Whose turn it is to pay: priority, then soonest expiry (never comes last), then kind, then effective date, then id.
fn turn(lot: &Lot) -> (i32, bool, Option<Time>, usize, Time, Seq) {
    use GrantKind::{Bonus, Goodwill, Plan, Promo, Purchased, Trial};
    let kinds = [Promo, Goodwill, Trial, Bonus, Plan, Purchased];
    let kind = kinds.iter().position(|kind| *kind == lot.terms.kind).expect("every kind is listed");
    let expires_at = lot.terms.expires_at;
    (lot.terms.priority, expires_at.is_none(), expires_at, kind, lot.terms.effective_at, lot.id)
}

fn bucket(place: Place) -> usize {
    match place {
        Place::Later => 0,
        Place::Free => 1,
        Place::Held(_) => 2,
        Place::Used(_) => 3,
        Place::Expired => 4,
        Place::Revoked => 5,
        Place::Repaid => 6,
    }
}
