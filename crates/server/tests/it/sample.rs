//! A small database, made through the store alone, in which every kind of entry and every way a hold ends occurs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use billing::ledger::{Command, GrantTerms, HoldTerms, Outcome};
use billing::{Amount, GrantKind, Labels, Price, Seq, Time};
use scrip::id;
use scrip::payments::{Said, Stands};
use scrip::store::committer::{Answer, Key, KeyKind, Post};
use scrip::store::jobs::{Act, Definition, JobKind, NewJob, StepText};
use scrip::store::leads::{EmailState, Lead};
use scrip::store::payments::{NewPayment, Purpose};
use scrip::store::subscriptions::Terms;
use scrip::store::work::{Claim, Ending, Held};
use scrip::store::workspaces::NewWorkspace;
use scrip::store::{Error, Store};

use crate::temp::{self, Directory};

pub const START: Time = Time(1_800_000_000_000_000);
pub const DAY: i64 = 86_400;

/// A store that speaks about one workspace.
pub struct Sample {
    pub store: Store,
    pub workspace: i64,
    now: Time,
    keys: i64,
}

/// Makes the database, closes it, and says which workspace has everything in it and which is only there.
pub async fn make(directory: &Directory) -> (i64, i64) {
    let store = Store::open(&directory.place(), Some(START)).expect("a new directory opens");
    let other = workspace(&store, None).await;
    let main = workspace(&store, Some(1_000)).await;
    let mut sample = Sample { store, workspace: main, now: START, keys: 0 };
    sample.grants().await;
    sample.holds().await;
    sample.campaign().await;
    sample.time_passes().await;
    sample.payments().await;
    sample.post(Command::Charge(hold("work", 1, 3, 900))).await;
    sample.workspace = other;
    sample.keyed(KeyKind::Grant, Command::Grant(grant(40, GrantKind::Trial, START, None))).await;
    sample.post(Command::Hold(hold("work", 2, 3, 604_800))).await;
    temp::close(sample.store).await;
    (main, other)
}

pub async fn workspace(store: &Store, plan: Option<i64>) -> i64 {
    let new = NewWorkspace {
        name: "Sample".into(),
        terms: plan.map(terms),
        collection: "none".into(),
        time_zone: "UTC".into(),
        admin_email: Some("admin@example.com".into()),
        external_id: None,
        request: String::new(),
    };
    store.create_workspace(new).await.expect("a workspace is made").0.id
}

/// A plan of so many credits a month.
pub fn terms(credits: i64) -> Terms {
    Terms {
        plan: "growth".into(),
        label: "Growth".into(),
        version: 1,
        credits,
        amount: 14_900,
        tax_rate: 0,
        currency: "EUR".into(),
        months: 1,
        grant_months: 1,
        expires: false,
        rollover: None,
        trial: None,
        prorates: true,
    }
}

pub fn grant(credits: i64, kind: GrantKind, effective_at: Time, expires_at: Option<Time>) -> GrantTerms {
    let credits = Amount::new(credits).expect("a number above zero");
    GrantTerms { credits, kind, priority: 0, effective_at, expires_at }
}

pub fn hold(operation: &str, quantity: i64, unit_price: i64, seconds: i64) -> HoldTerms {
    let price = Price { operation: operation.into(), quantity, unit_price, version: 1 };
    let labels = Labels { campaign: Some("spring".into()), member: Some("ann".into()), ..Labels::default() };
    HoldTerms { price, labels: Arc::new(labels), seconds, epoch: 0 }
}

/// A lead with an address.
pub fn lead(name: &str) -> Lead {
    let email = Some(format!("{name}@example.com"));
    Lead { name: name.into(), email, email_state: EmailState::Imported, ..Lead::default() }
}

/// A campaign of one e-mail.
pub fn one_mail() -> NewJob {
    let step = StepText {
        channel: "email".into(),
        after_days: 0,
        condition: "always".into(),
        subject: None,
        template: Some("Hello".into()),
        generate: false,
    };
    let definition = Definition { steps: vec![step], ..Definition::default() };
    let (kind, name) = (JobKind::Campaign, "Spring".into());
    NewJob { kind, name, definition, credit_cap: None, requested: 0, leads: vec![] }
}

/// A campaign of one e-mail to these leads, launched.
pub async fn launched(store: &Store, workspace: i64, names: &[&str]) -> i64 {
    store.import_leads(workspace, names.iter().map(|name| lead(name)).collect()).await.expect("leads");
    let leads = store.leads(workspace, None, 10).await.expect("leads").iter().map(|lead| lead.id).collect();
    let job = store.create_job(workspace, one_mail()).await.expect("a job").id;
    store.add_leads(workspace, job, leads).await.expect("leads are added");
    store.act_on_job(workspace, job, JobKind::Campaign, Act::Launch { by: None }).await.expect("it launches");
    job
}

/// What a piece of a campaign costs, labelled as the campaign loop labels it.
pub fn piece(claim: &Claim) -> HoldTerms {
    let name = |prefix, number| Some(id::inside(prefix, claim.workspace, number).into());
    let labels = Labels {
        campaign: name("camp", claim.job.id),
        channel: Some("email".into()),
        lead: claim.lead.as_ref().and_then(|lead| name("lead", lead.id)),
        ..Labels::default()
    };
    HoldTerms { labels: Arc::new(labels), epoch: claim.epoch, ..hold("email_send", 1, 2, 900) }
}

impl Sample {
    async fn post(&self, command: Command) -> Answer {
        let mut post = Post::new(self.workspace, command, "key_1");
        post.reason = Some("because".into());
        self.store.post(post).await.expect("lawful")
    }

    async fn keyed(&mut self, kind: KeyKind, command: Command) -> Answer {
        self.keys += 1;
        let mut post = Post::new(self.workspace, command, "key_1");
        post.key = Some(Key { kind, key: format!("key-{}", self.keys).into(), fingerprint: [7; 16] });
        self.store.post(post).await.expect("lawful")
    }

    async fn hold(&mut self, terms: HoldTerms) -> Seq {
        self.keyed(KeyKind::Hold, Command::Hold(terms)).await.hold.expect("a hold").id
    }

    async fn dispatched(&mut self, terms: HoldTerms) -> Seq {
        let hold = self.hold(terms).await;
        self.post(Command::Dispatch { hold, epoch: 0 }).await;
        hold
    }

    async fn pass(&mut self, seconds: i64) {
        self.now = self.now.plus_seconds(seconds);
        self.store.advance_clock(self.now).await.expect("the clock is stored");
        self.post(Command::Sweep).await;
    }

    async fn grants(&mut self) {
        let at = |days: i64| self.now.plus_seconds(days * DAY);
        let (soon, later) = (Some(at(2)), Some(at(10)));
        let promo = grant(100, GrantKind::Promo, at(0), soon);
        let bonus = grant(50, GrantKind::Bonus, at(1), later);
        let trial = grant(10, GrantKind::Trial, at(0), None);
        self.keyed(KeyKind::Grant, Command::Grant(promo)).await;
        self.keyed(KeyKind::Grant, Command::Grant(bonus)).await;
        self.keyed(KeyKind::Adjust, Command::Adjust(30)).await;
        self.keyed(KeyKind::Adjust, Command::Adjust(-20)).await;
        let trial = self.post(Command::Grant(trial)).await.entry.expect("an entry").entry.seq;
        self.post(Command::Revoke(trial)).await;
    }

    /// One hold for each way to end, and some that have not ended.
    async fn holds(&mut self) {
        let settled = self.dispatched(hold("work", 4, 3, 900)).await;
        self.post(Command::Settle { hold: settled, quantity: 3, attempted: None }).await;
        self.keyed(KeyKind::Refund, Command::Refund { hold: settled, quantity: Some(1) }).await;
        let released = self.hold(hold("work", 1, 5, 900)).await;
        self.post(Command::Release(released)).await;
        let charged = self.keyed(KeyKind::Charge, Command::Charge(hold("call", 2, 4, 900))).await;
        let charged = charged.hold.expect("a hold").id;
        self.keyed(KeyKind::Refund, Command::Refund { hold: charged, quantity: None }).await;
        let doubted = self.dispatched(hold("work", 1, 2, 900)).await;
        self.post(Command::Doubt(doubted)).await;
        self.post(Command::Resolve { hold: doubted, outcome: Outcome::Released }).await;
        let late = self.hold(hold("work", 2, 2, 60)).await;
        self.pass(120).await;
        // Its rows were written, and are changed by another page.
        self.keyed(KeyKind::Refund, Command::Refund { hold: settled, quantity: Some(1) }).await;
        self.post(Command::Settle { hold: late, quantity: 1, attempted: Some(2) }).await;
        self.hold(hold("work", 1, 1, 60)).await;
        let forgotten = self.dispatched(hold("work", 1, 6, 60)).await;
        self.post(Command::Extend { hold: forgotten, seconds: 600 }).await;
    }

    /// A campaign of one step: one lead is written to, one send is in doubt and resolved.
    async fn campaign(&mut self) {
        let (store, workspace) = (self.store.clone(), self.workspace);
        launched(&store, workspace, &["ada", "ben"]).await;
        let mut endings = [Ending::Sent, Ending::Doubt("time-out".into())].into_iter();
        for claim in store.claim(10).await.expect("claims") {
            let Held::Yes(hold) = store.hold_piece(&claim, piece(&claim)).await.expect("held") else {
                panic!("there are credits")
            };
            assert!(store.dispatch_piece(&claim, hold.id).await.expect("dispatched"));
            let ending = endings.next().expect("two leads");
            let doubt = matches!(ending, Ending::Doubt(_));
            assert!(store.finish_piece(&claim, Some(hold.id), ending).await.expect("finished"));
            if doubt {
                self.post(Command::Resolve { hold: hold.id, outcome: Outcome::Settled }).await;
            }
        }
    }

    /// Grants begin and expire, a dispatched hold becomes in doubt and is released at its deadline, a period begins.
    async fn time_passes(&mut self) {
        for _ in 0..12 {
            self.pass(DAY / 2).await;
        }
        self.pass(25 * DAY).await;
        let due = self.store.due_periods(10).await.expect("a read");
        let its = due.into_iter().find(|due| due.workspace == self.workspace).expect("a period is due");
        self.store.renew(its, None).await.expect("a period begins");
        self.hold(hold("work", 1, 6, 604_800)).await;
        let doubted = self.dispatched(hold("work", 3, 2, 900)).await;
        self.post(Command::Doubt(doubted)).await;
        self.dispatched(hold("work", 1, 1, 86_400)).await;
    }

    /// One top-up of each fate; a refund that leaves debt, and a grant that repays it.
    async fn payments(&mut self) {
        let (store, workspace) = (self.store.clone(), self.workspace);
        let mut ids = Vec::new();
        for (number, credits) in [500, 5_000, 700, 900].into_iter().enumerate() {
            let new = topup(workspace, credits);
            let bonus = if number == 1 { 50 } else { 0 };
            let new = NewPayment { bonus, ..new };
            ids.push(store.create_payment(new, key(KeyKind::TopUp, number)).await.expect("ordered").0.id);
        }
        let says = |id, said| store.apply_payment(workspace, id, said);
        says(ids[0], paid(ids[0])).await.expect("paid");
        says(ids[0], paid(ids[0])).await.expect("paid again changes nothing");
        says(ids[1], paid(ids[1])).await.expect("paid");
        says(ids[2], Said { stands: Stands::Declined, ..Said::default() }).await.expect("declined");
        let back = async |id, credits, number| {
            let (reason, key) = ("asked for".into(), key(KeyKind::TopUpRefund, number));
            let (payment, row, _) =
                store.plan_refund(workspace, id, credits, reason, key).await.expect("planned");
            let refunded = row.refund.before + row.refund.amount;
            says(id, Said { refunded, ..payment.known() }).await.expect("refunded")
        };
        back(ids[0], Some(100), 0).await;
        let disputed = Said { disputed: 2_000, refunded: 980, ..paid(ids[0]) };
        says(ids[0], disputed.clone()).await.expect("disputed");
        says(ids[0], Said { reinstated: 2_000, ..disputed }).await.expect("and won");
        let all = store.available(workspace).await.expect("a balance");
        self.keyed(KeyKind::Charge, Command::Charge(hold("work", 1, all, 900))).await;
        back(ids[1], None, 1).await;
        let (kind, now) = (GrantKind::Goodwill, self.now);
        self.keyed(KeyKind::Grant, Command::Grant(grant(6_000, kind, now, None))).await;
        self.keyed(KeyKind::Adjust, Command::Adjust(-90)).await;
    }
}

/// A top-up of so many credits for 49 euros.
pub fn topup(workspace: i64, credits: i64) -> NewPayment {
    NewPayment {
        workspace,
        purpose: Purpose::TopUp,
        item: "pack".into(),
        label: "Pack".into(),
        quantity: 1,
        credits,
        bonus: 0,
        expires_days: None,
        terms: None,
        amount: 4_900,
        tax: 0,
        currency: "EUR".into(),
        return_url: None,
    }
}

/// What a provider says of such a top-up once it is paid.
pub fn paid(payment: i64) -> Said {
    let (object, currency) = (Some(format!("object_{payment}")), "eur".into());
    Said { object, stands: Stands::Paid, amount: 4_900, currency, ..Said::default() }
}

fn key(kind: KeyKind, number: usize) -> Key {
    Key { kind, key: format!("order-{number}").into(), fingerprint: [number as u8; 16] }
}

/// Each post from a task of its own, so that they race for places in a batch; to one node after the other.
pub async fn race(stores: &[Store], posts: Vec<Post>) -> Vec<Result<Answer, Error>> {
    static TURN: AtomicU64 = AtomicU64::new(0);
    let racing: Vec<_> = posts
        .into_iter()
        .map(|post| {
            let turn = TURN.fetch_add(1, Ordering::SeqCst) as usize;
            let store = stores[turn % stores.len()].clone();
            tokio::spawn(async move { store.post(post).await })
        })
        .collect();
    let mut answers = Vec::with_capacity(racing.len());
    for post in racing {
        answers.push(post.await.expect("no panic"));
    }
    answers
}
