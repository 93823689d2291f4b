//! A storm of events: doubled up to 50 times, shuffled, up to 30 days late, forged, dropped, or never made. What was paid is
//! credited, once; nothing that was forged is taken; what got lost is healed by Stripe's lists.
//!
//! `SCRIP_DELIVERIES` says how many deliveries there are; a payment has about 20 of them.

use std::collections::{BTreeMap, BTreeSet};

use fake_stripe::events::{Chance, Delivery, Weather};
use futures_util::{StreamExt, stream};

use super::{DISPUTES, HOUR, PAYS, Shop, last, number, session, text};
use crate::chance::asked_for;

const DAY: i64 = 86_400;
/// How many are under way at a time.
const SIDE_BY_SIDE: usize = 32;
/// Payments of one workspace: each is a grant of its own, and an account has so many at most.
const OF_ONE: usize = 50;
/// What an endpoint is told.
const WANTED: [&str; 4] =
    ["payment_intent.succeeded", "charge.refunded", "charge.dispute.created", "charge.dispute.closed"];

/// One payment, and what became of it.
struct Bought {
    intent: String,
    ws: String,
    credits: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_weather_credits_equal_payments() {
    let (wanted, seed) = (asked_for("SCRIP_DELIVERIES", 2_000), asked_for("SCRIP_SEED", 20_270_131));
    let began = std::time::Instant::now();
    let mut shop = Shop::open().await;
    let weather = Weather {
        seed,
        never_percent: 1,
        dropped_percent: 10,
        forged_percent: 5,
        copies: 50,
        late_seconds: 30 * DAY as u64,
    };
    shop.fake.stripe().weather = weather;
    shop.fake.stripe().wanted_events = WANTED.to_vec();
    let bought = buy_all(&mut shop, wanted as usize / 20, seed).await;
    let mut deliveries = shop.fake.stripe().deliveries();
    // The first half arrives while Stripe's lists are not looked at: every credit comes from an event.
    let later = deliveries.split_off(deliveries.len() / 2);
    let forged = send_all(&shop, &deliveries).await;
    let told: BTreeSet<String> = genuine(&shop, &deliveries);
    let mut early = 0;
    for (ws, payments) in by_workspace(&bought) {
        let credits =
            payments.iter().filter(|one| told.contains(&one.intent)).map(|one| one.credits).sum::<i64>();
        early += credits;
        assert_eq!(available(&shop, &ws).await, credits, "seed {seed}, before the lists are read");
    }
    let paid: i64 = bought.iter().map(|one| one.credits).sum();
    assert!(early < paid, "something was lost");
    shop.advance(2 * HOUR).await;
    check_all(&shop, &bought, seed).await;
    // The rest arrives over a month, and says nothing new.
    let days = later.chunks(later.len().div_ceil(30).max(1));
    let mut late_forged = 0;
    for day in days {
        shop.advance(DAY).await;
        late_forged += send_all(&shop, day).await;
    }
    check_all(&shop, &bought, seed).await;
    shop.end();
    println!(
        "{} deliveries for {} payments, {} of them forged and refused, {} credits told and {} healed, seed {seed}, {:?}",
        deliveries.len() + later.len(),
        bought.len(),
        forged + late_forged,
        early,
        paid - early,
        began.elapsed()
    );
}

/// Everything is bought and paid; of some the money goes back, to the buyer or to a bank, and of some of those it returns.
async fn buy_all(shop: &mut Shop, count: usize, seed: u64) -> Vec<Bought> {
    let mut workspaces = vec![shop.ws.clone()];
    for number in 1..count.div_ceil(OF_ONE) {
        workspaces.push(shop.server.workspace(&format!("Buyer {number}")).await);
    }
    let mut chance = Chance(seed);
    let fates: Vec<u64> = (0..count).map(|_| chance.below(100)).collect();
    let (shop, workspaces) = (&*shop, &workspaces);
    let buying = fates.into_iter().enumerate().map(|(index, fate)| async move {
        let ws = workspaces[index / OF_ONE].clone();
        let topup = shop.order_for(&ws, &format!("order-{index}")).await;
        let session = session(&topup);
        let mut stripe = shop.fake.stripe();
        stripe.pay(&session, if matches!(fate, 5 | 6) { DISPUTES } else { PAYS });
        let intent = text(stripe.get(&session).expect("a session"), "payment_intent");
        let credits = match fate {
            0..=4 => {
                let left = stripe.left(&intent);
                stripe.give_back(&intent, left);
                0
            }
            5 => 0,
            6 => {
                let dispute = last(&stripe, "dispute");
                stripe.win_dispute(&dispute);
                number(&topup, "credits")
            }
            _ => number(&topup, "credits"),
        };
        Bought { intent, ws, credits }
    });
    stream::iter(buying).buffer_unordered(SIDE_BY_SIDE).collect().await
}

/// The payment intents that genuine deliveries speak of.
fn genuine(shop: &Shop, deliveries: &[Delivery]) -> BTreeSet<String> {
    let stripe = shop.fake.stripe();
    let genuine = deliveries.iter().filter(|delivery| delivery.forged.is_none());
    let intent = |delivery: &Delivery| {
        let object = &stripe.get(&delivery.event).expect("an event")["data"]["object"];
        text(object, if object["object"] == "payment_intent" { "id" } else { "payment_intent" })
    };
    genuine.map(intent).collect()
}

/// All of them arrive, many at a time. How many were forged, and refused.
async fn send_all(shop: &Shop, deliveries: &[Delivery]) -> usize {
    let sending =
        deliveries.iter().map(|delivery| async move { (delivery.forged, shop.deliver(delivery).await) });
    let mut answers = stream::iter(sending).buffer_unordered(SIDE_BY_SIDE);
    let mut forged = 0;
    while let Some((kind, status)) = answers.next().await {
        assert_eq!(status, if kind.is_some() { 400 } else { 200 }, "{kind:?}");
        forged += usize::from(kind.is_some());
    }
    forged
}

fn by_workspace(bought: &[Bought]) -> BTreeMap<String, Vec<&Bought>> {
    bought.iter().fold(BTreeMap::new(), |mut all, one| {
        all.entry(one.ws.clone()).or_insert_with(Vec::new).push(one);
        all
    })
}

async fn available(shop: &Shop, ws: &str) -> i64 {
    number(&shop.server.get(&format!("{ws}/balance")).await.about_a_workspace(200), "balance")
}

async fn check_all(shop: &Shop, bought: &[Bought], seed: u64) {
    for (ws, payments) in by_workspace(bought) {
        let credits: i64 = payments.iter().map(|one| one.credits).sum();
        assert_eq!(available(shop, &ws).await, credits, "seed {seed}: {ws}");
    }
}
