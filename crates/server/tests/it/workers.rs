//! Workers that stop for minutes, go on long after their lease, or never come back: no message goes out twice, and none is paid
//! that did not go out.
//!
//! `SCRIP_WORKERS` says how many histories run and `SCRIP_SEED` which is the first; a failing one names its seed.

use billing::{Command, Seq, Time};
use scrip::store::Store;
use scrip::store::committer::Post;
use scrip::store::jobs::{Act, JobKind};
use scrip::store::work::{Claim, Ending, Held, StepOutcome};

use crate::chance::{Chance, asked_for};
use crate::sample::{self, START};
use crate::temp::{self, Directory};

const LEADS: [&str; 5] = ["lead1", "lead2", "lead3", "lead4", "lead5"];
const MOVES: usize = 150;
const LEASE_SECONDS: i64 = 300;

struct Worker {
    claim: Claim,
    leased_until: Time,
    at: At,
}

/// How far a worker is.
enum At {
    Claimed,
    Held(Seq),
    Dispatched(Seq),
    Called(Seq, Ending),
}

/// A campaign of one message to each lead, what was asked of the mail server, and what was said of it.
struct Office {
    store: Store,
    workspace: i64,
    job: i64,
    now: Time,
    chance: Chance,
    /// By lead: how many messages the mail server took.
    taken: [i64; LEADS.len()],
    told_sent: i64,
    told_refused: i64,
}

#[tokio::test]
async fn no_worker_however_late_sends_or_pays_twice() {
    let (count, first) = (asked_for("SCRIP_WORKERS", 20), asked_for("SCRIP_SEED", 20_270_131));
    let mut sums = [0; 3];
    for seed in first..first + count {
        let directory = Directory::new("workers");
        println!("workers: seed {seed}");
        for (sum, each) in sums.iter_mut().zip(Office::open(&directory, seed).await.live().await) {
            *sum += each;
        }
        directory.prove(&format!("seed {seed}"));
    }
    println!("workers: seed {first}, {count} histories; sent, in doubt, too late to count: {sums:?}");
    assert!(count < 20 || sums.iter().all(|sum| *sum > 0), "the histories do not reach everything: {sums:?}");
}

impl Office {
    async fn open(directory: &Directory, seed: u64) -> Office {
        let store = Store::open(&directory.place(), Some(START)).expect("it opens");
        let workspace = sample::workspace(&store, Some(1_000)).await;
        let job = sample::launched(&store, workspace, &LEADS).await;
        let chance = Chance::new(seed);
        Office { store, workspace, job, now: START, chance, taken: [0; 5], told_sent: 0, told_refused: 0 }
    }

    async fn live(mut self) -> [i64; 3] {
        let (mut workers, mut late) = (Vec::new(), 0);
        for _ in 0..MOVES {
            let longest = if self.chance.once_in(5) { 700 } else { 40 };
            let seconds = self.chance.within(0, longest);
            self.pass(seconds).await;
            match self.chance.within(0, 9) {
                0..=2 => self.claim(&mut workers).await,
                3 if !workers.is_empty() => drop(self.pick(&mut workers)),
                4 => self.pause_or_resume().await,
                _ if workers.is_empty() => {}
                _ => {
                    let worker = self.pick(&mut workers);
                    workers.extend(self.go_on(worker, &mut late).await);
                }
            }
        }
        self.end(workers, &mut late).await;
        let progress = self.store.progress(self.workspace, self.job).await.expect("progress");
        let [sent, doubtful, refused] = [StepOutcome::Sent, StepOutcome::InDoubt, StepOutcome::Failed]
            .map(|outcome| progress.outcome(0, outcome));
        assert_eq!((sent, refused), (self.told_sent, self.told_refused), "what was told is what is written");
        assert_eq!(sent + doubtful + refused, LEADS.len() as i64, "every lead is through");
        let taken: i64 = self.taken.iter().sum();
        assert!(sent <= taken && taken <= sent + doubtful, "{taken} taken, {sent} sent, {doubtful} in doubt");
        let job = self.store.job(self.workspace, self.job, JobKind::Campaign).await.expect("the job");
        assert_eq!((job.credits_used, job.credits_held), (2 * sent, 2 * doubtful));
        temp::close(self.store).await;
        [sent, doubtful, late]
    }

    async fn pass(&mut self, seconds: i64) {
        self.now = self.now.plus_seconds(seconds);
        self.store.advance_clock(self.now).await.expect("the clock is stored");
        if self.chance.once_in(3) {
            let sweep = Post::new(self.workspace, Command::Sweep, "scheduler");
            self.store.post(sweep).await.expect("lawful");
        }
    }

    fn pick(&mut self, workers: &mut Vec<Worker>) -> Worker {
        workers.swap_remove(self.chance.within(0, workers.len() as i64 - 1) as usize)
    }

    async fn claim(&mut self, workers: &mut Vec<Worker>) {
        for claim in self.store.claim(2).await.expect("claims") {
            let another = workers.iter().find(|it| it.lead() == lead(&claim) && it.leased_until > self.now);
            assert!(another.is_none(), "{} was claimed while its lease lasts", LEADS[lead(&claim)]);
            let leased_until = self.now.plus_seconds(LEASE_SECONDS);
            workers.push(Worker { claim, leased_until, at: At::Claimed });
        }
    }

    async fn pause_or_resume(&mut self) {
        let act = if self.chance.once_in(2) { Act::Pause { by: "key_1".into() } } else { Act::Resume };
        // Either may be refused: it is paused, or it runs, already, or it is through.
        let _ = self.store.act_on_job(self.workspace, self.job, JobKind::Campaign, act).await;
    }

    /// The next step of a worker, as the campaign loop takes it. `None`: it has ended.
    async fn go_on(&mut self, worker: Worker, late: &mut i64) -> Option<Worker> {
        let (store, claim) = (self.store.clone(), &worker.claim);
        let at = match worker.at {
            At::Claimed if claim.left_dispatched().is_some() => {
                let hold = claim.left_dispatched()?.id;
                At::Called(hold, Ending::Doubt("it went out under a claim that lapsed".into()))
            }
            At::Claimed => match store.hold_piece(claim, sample::piece(claim)).await.expect("an answer") {
                Held::Yes(hold) => At::Held(hold.id),
                Held::No => return None,
            },
            At::Held(hold) => {
                store.dispatch_piece(claim, hold).await.expect("an answer").then_some(At::Dispatched(hold))?
            }
            At::Dispatched(hold) => At::Called(hold, self.call(lead(claim))),
            At::Called(hold, ending) => {
                if store.finish_piece(claim, Some(hold), ending.clone()).await.expect("an answer") {
                    self.told_sent += i64::from(matches!(ending, Ending::Sent));
                    self.told_refused += i64::from(matches!(ending, Ending::NotSent(..)));
                } else {
                    *late += 1;
                }
                return None;
            }
        };
        Some(Worker { at, ..worker })
    }

    /// The mail server takes a message or not, and whoever asked may not hear it.
    fn call(&mut self, lead: usize) -> Ending {
        let taken = &mut self.taken[lead];
        let ending = match self.chance.within(0, 9) {
            0 => Ending::NotSent(StepOutcome::Failed, "no such mailbox".into()),
            1 | 2 => Ending::Later("try again".into(), 0),
            3 => Ending::Doubt("the connection broke".into()),
            _ => Ending::Sent,
        };
        if matches!(ending, Ending::Sent) || matches!(ending, Ending::Doubt(_)) && self.chance.once_in(2) {
            *taken += 1;
            assert_eq!(*taken, 1, "{} got the message twice", LEADS[lead]);
        }
        ending
    }

    /// Lets those who are at work come back, or not, and one worker do what is left.
    async fn end(&mut self, mut workers: Vec<Worker>, late: &mut i64) {
        let _ = self.store.act_on_job(self.workspace, self.job, JobKind::Campaign, Act::Resume).await;
        while !workers.is_empty() {
            let worker = self.pick(&mut workers);
            if !self.chance.once_in(4) {
                workers.extend(self.go_on(worker, late).await);
            }
        }
        for _ in 0..20 {
            self.pass(3_600).await;
            self.claim(&mut workers).await;
            while let Some(worker) = workers.pop() {
                workers.extend(self.go_on(worker, late).await);
            }
        }
    }
}

impl Worker {
    fn lead(&self) -> usize {
        lead(&self.claim)
    }
}

/// Which of the leads a claim is about.
fn lead(claim: &Claim) -> usize {
    let name = claim.lead.as_ref().map(|lead| lead.name.as_str());
    LEADS.iter().position(|lead| Some(*lead) == name).expect("one of the leads")
}
