//! `scrip serve` as a process of its own, killed (SIGKILL) at every request that it makes of Stripe, before and after Stripe did
//! it, and once its answer is there; and killed again while it recovers. Begun again, each payment has happened once: what the
//! stand-in says that it took is what the ledger says was paid.
//!
//! What is between two commits without a request is in `points`.

mod points;
mod till;

use std::time::{Duration, Instant};

use fake_stripe::Fault;
use till::{Flow, Till};

/// Runs the flow's request, and kills the server when Stripe has got the request that comes after so many others. Answers
/// whether it came.
async fn killed_in(till: &mut Till, flow: Flow, others: usize, fault: &Fault) -> bool {
    till.fake.stripe().fail_after(others, fault.clone());
    let sent = tokio::spawn(flow.request(till).send());
    let began = Instant::now();
    while !sent.is_finished() && !till.fake.stripe().has_failed() {
        assert!(began.elapsed() < Duration::from_secs(60), "{flow:?}: neither an end nor request {others}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let came = till.fake.stripe().has_failed();
    till.kill();
    sent.abort();
    came
}

/// One kill, and perhaps one more while it recovers; answers whether the request to be killed at came.
async fn one(flow: Flow, others: usize, fault: &Fault, again: bool) -> bool {
    let mut till = Till::open().await;
    flow.before(&mut till).await;
    let came = killed_in(&mut till, flow, others, fault).await;
    // What is planned and did not come must not disturb the beginning.
    till.fake.stripe().plan_nothing();
    till.start();
    if again {
        killed_in(&mut till, flow, 0, &Fault::HangAfterEffect).await;
        till.fake.stripe().plan_nothing();
        till.start();
    }
    flow.ends(&till, &format!("{flow:?} killed after {others} requests, {fault:?}, again {again}")).await;
    came
}

/// Every request of a flow, before and after its effect, until there is none any more: then it is killed after its answer.
async fn every_point(flow: Flow, least: usize) {
    let began = Instant::now();
    let (mut others, mut kills) = (0, 0);
    loop {
        let mut came = false;
        for (fault, again) in [(Fault::Hang, false), (Fault::HangAfterEffect, false), (Fault::Hang, true)] {
            came |= one(flow, others, &fault, again).await;
            kills += 1 + usize::from(again);
        }
        if !came {
            break;
        }
        others += 1;
    }
    assert!(others >= least, "{flow:?} asks Stripe {others} times");
    println!(
        "killed: {flow:?}, {others} requests, {kills} kills, nothing lost or doubled, {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_survives_a_kill_at_every_request() {
    every_point(Flow::Checkout, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_survives_a_kill_at_every_request() {
    every_point(Flow::Webhook, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_survives_a_kill_at_every_request() {
    every_point(Flow::Renewal, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recharge_survives_a_kill_at_every_request() {
    every_point(Flow::Recharge, 4).await;
}
