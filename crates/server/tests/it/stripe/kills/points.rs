//! The same ways, cut at every moment that a kill can tell apart: before each commit, in the middle of it and behind it, and
//! after each request that Stripe has seen.
//!
//! A way is gone once, on a disk that records every change of a file, with what Stripe knew beside it. Each moment is then put
//! back as it was, and a server begins there. On SQLite alone: what a PostgreSQL server keeps of a commit is in `outage`.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use disk::{Change, Disk, Files, Operation};
use fake_stripe::{FakeStripe, Stripe};

use super::till::{Flow, Till};
use crate::temp::Directory;

/// What a way left behind: all changes from the beginning of the database, and where among them Stripe knew what.
struct Recording {
    changes: Vec<Operation>,
    /// How many changes there were before the way.
    from: usize,
    known: Vec<(usize, Stripe)>,
    ws: String,
}

async fn gone(flow: Flow) -> Recording {
    let directory = Directory::local("points");
    let disk = Arc::new(Disk::of(directory.path()));
    let mut till = Till::here(directory, FakeStripe::start().await.expect("a free port")).await;
    till.settle_in().await;
    flow.before(&mut till).await;
    let from = disk.position();
    let known = Arc::new(Mutex::new(vec![(from, till.fake.stripe().clone())]));
    let (seen, watched) = (known.clone(), disk.clone());
    let watcher =
        move |stripe: &Stripe| seen.lock().expect("no panic").push((watched.position(), stripe.clone()));
    till.fake.stripe().watcher = Some(Arc::new(watcher));
    let answer = flow.request(&till).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{flow:?}: {answer:?}");
    till.fake.stripe().watcher = None;
    let known = known.lock().expect("no panic").clone();
    Recording { changes: disk.log(), from, known, ws: till.ws.clone() }
}

impl Recording {
    /// The moments to be cut at: how many changes were made, and what Stripe knew.
    fn moments(&self) -> Vec<(usize, &Stripe)> {
        let synced = |at: &usize| matches!(self.changes[*at].change, Change::Sync);
        let mut cuts = vec![self.from];
        for commit in (self.from..self.changes.len()).filter(synced) {
            let begun = cuts[cuts.len() - 1];
            cuts.extend([begun + (commit - begun) / 2, commit]);
        }
        cuts.push(self.changes.len());
        cuts.dedup();
        let mut moments = Vec::new();
        for (at, (position, stripe)) in self.known.iter().enumerate() {
            let until = self.known.get(at + 1).map_or(usize::MAX, |(next, _)| *next);
            moments.push((*position, stripe));
            moments.extend(
                cuts.iter().filter(|cut| **cut > *position && **cut <= until).map(|cut| (*cut, stripe)),
            );
        }
        moments
    }

    /// Puts a moment back, and begins there.
    async fn begins(&self, flow: Flow, (position, stripe): (usize, &Stripe)) {
        let mut files = Files::default();
        self.changes[..position].iter().for_each(|change| files.apply(change, |_| true));
        let directory = Directory::local("point");
        disk::put(directory.path(), &files.killed());
        let mut stripe = stripe.clone();
        stripe.watcher = None;
        let calls = stripe.calls.len();
        let fake = FakeStripe::knowing(stripe).await.expect("a free port");
        let mut till = Till::here(directory, fake).await;
        till.ws.clone_from(&self.ws);
        let when = format!("{flow:?} cut at {position} of {}, {calls} requests", self.changes.len());
        flow.ends(&till, &when).await;
    }
}

fn every_moment(flow: Flow, least: usize) {
    let began = Instant::now();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let recording = runtime().expect("a runtime").block_on(gone(flow));
    let moments = recording.moments();
    for moment in &moments {
        // With its runtime, each server ends.
        runtime().expect("a runtime").block_on(recording.begins(flow, *moment));
    }
    println!(
        "points: {flow:?}, {} moments, {} changes, {} requests, nothing lost or doubled, {:?}",
        moments.len(),
        recording.changes.len() - recording.from,
        recording.known.len() - 1,
        began.elapsed()
    );
    assert!(moments.len() >= least, "{flow:?} has {} moments", moments.len());
}

#[test]
fn a_checkout_survives_a_kill_at_every_moment() {
    every_moment(Flow::Checkout, 5);
}

#[test]
fn a_webhook_survives_a_kill_at_every_moment() {
    every_moment(Flow::Webhook, 4);
}

#[test]
fn a_renewal_survives_a_kill_at_every_moment() {
    every_moment(Flow::Renewal, 15);
}

#[test]
fn a_recharge_survives_a_kill_at_every_moment() {
    every_moment(Flow::Recharge, 12);
}
