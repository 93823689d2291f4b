//! Pieces of campaigns whose job, lease or hold ended while somebody was at work: nothing is lost, doubled or left held.

use billing::campaign::{Finish, Next, Stage};
use billing::{Command, HoldStatus, Seq};
use scrip::store::Store;
use scrip::store::committer::Post;
use scrip::store::jobs::{Act, Job, JobKind};
use scrip::store::work::{Away, Claim, Ending, Held, Need, StepOutcome, WorkState};

use crate::sample::{self, START};
use crate::temp::{self, Directory};

/// A store in which one lead of a launched campaign was claimed.
struct AtWork {
    directory: Directory,
    store: Store,
    workspace: i64,
    job: i64,
    claim: Claim,
}

impl AtWork {
    async fn new() -> AtWork {
        let directory = Directory::new("pieces");
        let store = Store::open(&directory.place(), Some(START)).expect("it opens");
        let workspace = sample::workspace(&store, Some(1_000)).await;
        let job = sample::launched(&store, workspace, &["ada"]).await;
        let claim = store.claim(10).await.expect("claims").remove(0);
        AtWork { directory, store, workspace, job, claim }
    }

    async fn hold(&self) -> Seq {
        match self.store.hold_piece(&self.claim, sample::piece(&self.claim)).await.expect("an answer") {
            Held::Yes(hold) => hold.id,
            Held::No => panic!("there are credits"),
        }
    }

    async fn pass(&self, seconds: i64) {
        self.store.advance_clock(START.plus_seconds(seconds)).await.expect("the clock is stored");
        self.post(Command::Sweep).await;
    }

    async fn post(&self, command: Command) {
        let mut post = Post::new(self.workspace, command, "campaign");
        post.background = true;
        self.store.post(post).await.expect("lawful");
    }

    async fn job(&self) -> Job {
        self.store.job(self.workspace, self.job, JobKind::Campaign).await.expect("the job")
    }

    /// Compares what the job used and holds, and audits the rest.
    async fn comes_to(self, used: i64, held: i64) {
        let job = self.job().await;
        assert_eq!((job.credits_used, job.credits_held), (used, held));
        temp::close(self.store).await;
        self.directory.prove("at the end");
    }
}

#[tokio::test]
async fn a_call_under_way_is_paid_when_its_campaign_is_canceled() {
    let world = AtWork::new().await;
    let hold = world.hold().await;
    assert!(world.store.dispatch_piece(&world.claim, hold).await.expect("an answer"));
    let canceled = world.store.act_on_job(world.workspace, world.job, JobKind::Campaign, Act::Cancel).await;
    assert_eq!(canceled.expect("canceled").run.stage, Stage::Canceled);
    assert!(world.store.finish_piece(&world.claim, Some(hold), Ending::Sent).await.expect("an answer"));
    let hold = world.store.hold(world.workspace, hold).await.expect("the hold");
    assert_eq!(hold.status, HoldStatus::Settled);
    assert_eq!(world.job().await.run.stage, Stage::Canceled, "it stays canceled");
    assert!(world.store.claim(10).await.expect("claims").is_empty(), "nothing more is done");
    world.comes_to(2, 0).await;
}

#[tokio::test]
async fn a_late_settle_gives_nothing_back_twice() {
    let world = AtWork::new().await;
    let hold = world.hold().await;
    world.pass(1_000).await;
    assert_eq!(world.job().await.credits_held, 0, "the hold has ended by itself");
    world.post(Command::Settle { hold, quantity: 1, attempted: None }).await;
    world.comes_to(2, 0).await;
}

#[tokio::test]
async fn what_a_lost_claim_held_comes_back_when_the_lead_is_passed() {
    let mut world = AtWork::new().await;
    let hold = world.hold().await;
    world.pass(400).await;
    world.claim = world.store.claim(10).await.expect("claims").remove(0);
    let next = Next::Finish(Finish::Replied);
    world.store.pass_piece(&world.claim, next).await.expect("passed");
    let hold = world.store.hold(world.workspace, hold).await.expect("the hold");
    assert_eq!(hold.status, HoldStatus::Released);
    world.comes_to(0, 0).await;
}

#[tokio::test]
async fn what_a_lost_claim_held_comes_back_when_the_provider_is_missing() {
    let mut world = AtWork::new().await;
    world.hold().await;
    world.pass(400).await;
    world.claim = world.store.claim(10).await.expect("claims").remove(0);
    let ending = Ending::Unavailable("no provider".into());
    assert!(world.store.finish_piece(&world.claim, None, ending).await.expect("an answer"));
    world.comes_to(0, 0).await;
}

#[tokio::test]
async fn what_a_lost_claim_held_comes_back_while_the_piece_cannot_go_on() {
    let world = AtWork::new().await;
    let hold = world.hold().await;
    world.pass(400).await;
    let needs = [Need::Email, Need::Enrichment(1), Need::Messages, Need::Linkedin];
    let closed = needs.map(|need| (need, START.plus_seconds(10_000)));
    let away = Away { until: [(world.workspace, closed.into())].into(), fields: vec![None] };
    assert!(world.store.claim_but(10, &away).await.expect("claims").is_empty(), "nobody is there");
    let hold = world.store.hold(world.workspace, hold).await.expect("the hold");
    assert_eq!(hold.status, HoldStatus::Released);
    world.comes_to(0, 0).await;
}

#[tokio::test]
async fn a_message_in_doubt_is_written_again_and_its_step_is_not_counted_as_sent() {
    let world = AtWork::new().await;
    let mut terms = sample::piece(&world.claim);
    terms.price.operation = "message_generation".into();
    let Held::Yes(hold) = world.store.hold_piece(&world.claim, terms).await.expect("an answer") else {
        panic!("there are credits")
    };
    assert!(world.store.dispatch_piece(&world.claim, hold.id).await.expect("an answer"));
    world.pass(1_000).await;
    let hold = world.store.hold(world.workspace, hold.id).await.expect("the hold");
    assert_eq!(hold.status, HoldStatus::Released);
    let again = world.store.claim(10).await.expect("claims").remove(0);
    assert!(again.hold.is_none() && again.position == world.claim.position);
    world.pass(80 * 3_600).await;
    let progress = world.store.progress(world.workspace, world.job).await.expect("progress");
    assert!(progress.outcomes.is_empty(), "{:?}", progress.outcomes);
    world.comes_to(0, 0).await;
}

#[tokio::test]
async fn an_answer_after_the_hold_ran_out_still_ends_its_piece() {
    let endings = [
        (Ending::Sent, 2, Some(StepOutcome::Sent)),
        (Ending::NotSent(StepOutcome::Skipped, "gone".into()), 0, Some(StepOutcome::Skipped)),
        (Ending::Later("busy".into(), 0), 0, None),
        (Ending::Unavailable("no".into()), 0, None),
    ];
    // With and without somebody who noticed meanwhile that it ran out.
    let cases = endings.iter().flat_map(|ending| [true, false].map(|noticed| (ending.clone(), noticed)));
    for ((ending, used, outcome), noticed) in cases {
        let world = AtWork::new().await;
        let hold = world.hold().await;
        assert!(world.store.dispatch_piece(&world.claim, hold).await.expect("an answer"));
        if noticed {
            world.pass(1_000).await;
            let doubted = world.store.hold(world.workspace, hold).await.expect("the hold");
            assert_eq!(doubted.status, HoldStatus::InDoubt);
            assert!(world.store.claim(10).await.expect("claims").is_empty(), "nobody else gets it");
        } else {
            world.store.advance_clock(START.plus_seconds(1_000)).await.expect("the clock is stored");
        }
        assert!(world.store.finish_piece(&world.claim, Some(hold), ending).await.expect("an answer"));
        let progress = world.store.progress(world.workspace, world.job).await.expect("progress");
        for each in [StepOutcome::Sent, StepOutcome::Skipped, StepOutcome::Failed, StepOutcome::InDoubt] {
            assert_eq!(progress.outcome(0, each), i64::from(Some(each) == outcome), "{each:?} {noticed}");
        }
        assert_eq!(progress.state(WorkState::InDoubt), 0);
        world.comes_to(used, 0).await;
    }
}

#[tokio::test]
async fn a_doubt_said_again_changes_nothing() {
    let world = AtWork::new().await;
    let hold = world.hold().await;
    assert!(world.store.dispatch_piece(&world.claim, hold).await.expect("an answer"));
    world.pass(1_000).await;
    let doubt = Ending::Doubt("who knows".into());
    assert!(world.store.finish_piece(&world.claim, Some(hold), doubt).await.expect("an answer"));
    let progress = world.store.progress(world.workspace, world.job).await.expect("progress");
    assert_eq!(progress.outcome(0, StepOutcome::InDoubt), 1);
    world.comes_to(0, 2).await;
}

#[tokio::test]
async fn a_claim_that_lapsed_ends_nothing_of_the_one_after_it() {
    let mut world = AtWork::new().await;
    let (lapsed, old) = (world.claim.clone(), world.hold().await);
    world.pass(400).await;
    world.claim = world.store.claim(10).await.expect("claims").remove(0);
    let hold = world.hold().await;
    assert!(!world.store.dispatch_piece(&lapsed, old).await.expect("an answer"));
    assert!(matches!(world.store.hold_piece(&lapsed, sample::piece(&lapsed)).await, Ok(Held::No)));
    for ending in [Ending::Later("busy".into(), 0), Ending::Unavailable("no".into()), Ending::Sent] {
        for with in [None, Some(old), Some(hold)] {
            let ended = world.store.finish_piece(&lapsed, with, ending.clone()).await;
            assert!(!ended.expect("an answer"), "{ending:?} with {with:?}");
        }
    }
    world.store.pass_piece(&lapsed, Next::Finish(Finish::Replied)).await.expect("an answer");
    assert!(world.store.dispatch_piece(&world.claim, hold).await.expect("an answer"));
    assert!(world.store.finish_piece(&world.claim, Some(hold), Ending::Sent).await.expect("an answer"));
    let progress = world.store.progress(world.workspace, world.job).await.expect("progress");
    assert_eq!(progress.outcome(0, StepOutcome::Sent), 1);
    world.comes_to(2, 0).await;
}
