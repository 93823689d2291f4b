//! Payments as providers report them: in any order, repeated, late, and wrong.

use billing::{Command, GrantKind};
use scrip::payments::{Said, Stands};
use scrip::store::committer::{Key, KeyKind, Post};
use scrip::store::payments::{NewPayment, Payment, Status};
use scrip::store::{Error, Store};

use crate::sample::{self, START};
use crate::temp::{self, Directory};

/// What a provider can say of one payment over its life, in the order in which it happened.
fn life(payment: i64) -> Vec<Said> {
    let paid = sample::paid(payment);
    let object = paid.object.clone();
    vec![
        Said { stands: Stands::Processing, object: object.clone(), ..Said::default() },
        Said { stands: Stands::Declined, object, reason: Some("no".into()), ..Said::default() },
        paid.clone(),
        Said { refunded: 490, ..paid.clone() },
        Said { refunded: 490, disputed: 2_450, ..paid.clone() },
        Said { refunded: 490, disputed: 2_450, reinstated: 2_450, ..paid.clone() },
        // A refund of ten percent failed after it had succeeded.
        Said { refunded: 1_470, undone: 490, disputed: 2_450, reinstated: 2_450, ..paid },
    ]
}

/// All orders of up to so many things, each of them at most once.
fn orders(of: usize) -> Vec<Vec<usize>> {
    let (mut all, mut longest) = (Vec::new(), vec![Vec::new()]);
    for _ in 0..of {
        let more = |order: &Vec<usize>| {
            let left: Vec<usize> = (0..of).filter(|next| !order.contains(next)).collect();
            let order = order.clone();
            left.into_iter().map(move |next| [order.clone(), vec![next]].concat())
        };
        longest = longest.iter().flat_map(more).collect();
        all.extend(longest.iter().cloned());
    }
    all
}

/// What must be taken back after these reports, whatever their order: of 1,100 credits for 4,900 cents what went back of those;
/// `None` while it is not paid.
fn taken(order: &[usize]) -> Option<i64> {
    let said: Vec<Said> =
        life(1).into_iter().enumerate().filter(|one| order.contains(&one.0)).map(|one| one.1).collect();
    let most = |sum: fn(&Said) -> i64| said.iter().map(sum).max().unwrap_or(0);
    let gone = most(|said| said.refunded) - most(|said| said.undone) + most(|said| said.disputed)
        - most(|said| said.reinstated);
    said.iter().any(|said| said.stands == Stands::Paid).then_some(1_100 * gone / 4_900)
}

async fn ordered(store: &Store, new: NewPayment) -> i64 {
    let key = Key { kind: KeyKind::TopUp, key: "order".into(), fingerprint: [1; 16] };
    store.create_payment(new, key).await.expect("ordered").0.id
}

/// One order of events in a workspace of its own: 1,000 credits and 100 on top for 49 euros, 900 of them spent when they come.
async fn live(store: &Store, order: &[usize]) -> (Payment, i64, i64) {
    let workspace = sample::workspace(store, None).await;
    let new = NewPayment { bonus: 100, ..sample::topup(workspace, 1_000) };
    let id = ordered(store, new).await;
    let said = life(id);
    let mut spent = 0;
    for index in order.iter().chain(order.iter().rev()) {
        let payment = store.apply_payment(workspace, id, said[*index].clone()).await.expect("applied");
        let left = store.available(workspace).await.expect("a balance");
        if payment.is_paid() && spent == 0 && left > 0 {
            spent = left.min(900);
            let charge = Command::Charge(sample::hold("work", spent, 1, 900));
            store.post(Post::new(workspace, charge, "key_1")).await.expect("covered");
        }
    }
    let balance = store.balance(workspace).await.expect("a balance");
    (store.payment(workspace, id).await.expect("a payment"), balance.available - balance.debt, spent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_to_seven_reports_in_any_order_and_repeated_leave_the_same() {
    let directory = Directory::new("orders");
    let store = Store::open(&directory.place(), Some(START)).expect("it opens");
    let all = orders(7);
    assert_eq!(all.len(), 13_699);
    // A server takes a transaction for each; a file takes all of them.
    let step = if directory.is_shared() { 101 } else { 1 };
    let orders: Vec<_> = all.into_iter().step_by(step).collect();
    let (count, started) = (orders.len(), std::time::Instant::now());
    for chunk in orders.chunks(64) {
        let lives = chunk.iter().map(|order| live(&store, order));
        for (order, (payment, balance, spent)) in
            chunk.iter().zip(futures_util::future::join_all(lives).await)
        {
            let Some(taken) = taken(order) else {
                assert!(!payment.is_paid() && (payment.taken, balance, spent) == (0, 0, 0), "{order:?}");
                continue;
            };
            assert_eq!((payment.status, payment.taken), (Status::Paid, taken), "{order:?}");
            assert!(balance + spent == 1_100 - taken, "{order:?}: {balance} after {spent}");
            assert!(spent > 0, "{order:?}");
            // Two tenths of the money went back for good, once all is known.
            assert!(order.len() < 7 || taken == 220, "{order:?}");
        }
    }
    println!("payments: {count} orders of up to 7 reports, each twice, in {:?}", started.elapsed());
    temp::close(store).await;
    directory.prove("after all orders");
}

#[tokio::test]
async fn a_report_that_cannot_be_true_changes_nothing() {
    let directory = Directory::new("untrue");
    let store = Store::open(&directory.place(), Some(START)).expect("it opens");
    let (workspace, other) = (sample::workspace(&store, None).await, sample::workspace(&store, None).await);
    let one = ordered(&store, sample::topup(workspace, 500)).await;
    let two = ordered(&store, sample::topup(other, 500)).await;
    let good = sample::paid(one);
    store
        .apply_payment(other, two, Said { stands: Stands::Open, ..sample::paid(two) })
        .await
        .expect("its own");
    for (said, code) in [
        (Said { amount: 4_899, ..good.clone() }, "payment_differs"),
        (Said { amount: 0, ..good.clone() }, "payment_differs"),
        (Said { currency: "USD".into(), ..good.clone() }, "payment_differs"),
        (Said { object: None, ..good.clone() }, "payment_differs"),
        (Said { object: sample::paid(two).object, ..good.clone() }, "foreign_object"),
        (Said { customer: sample::paid(two).object, ..good.clone() }, "foreign_object"),
        (Said { reinstated: 1, ..good.clone() }, "payment_differs"),
        (Said { refunded: -1, ..good.clone() }, "payment_differs"),
        (Said { refunded: 1, undone: 2, ..good.clone() }, "payment_differs"),
    ] {
        match store.apply_payment(workspace, one, said.clone()).await {
            Err(Error::Conflict(found, _)) => assert_eq!(found, code, "{said:?}"),
            other => panic!("{said:?}: {other:?}"),
        }
    }
    assert_eq!(store.available(workspace).await.expect("a balance"), 0);
    store.apply_payment(workspace, one, good.clone()).await.expect("paid");
    let second = Said { object: Some("another".into()), ..good };
    assert!(matches!(
        store.apply_payment(workspace, one, second).await,
        Err(Error::Conflict("payment_differs", _))
    ));
    assert!(matches!(store.apply_payment(workspace, 1, sample::paid(1)).await, Err(Error::NotFound)));
    assert_eq!(store.available(workspace).await.expect("a balance"), 500);
    temp::close(store).await;
    directory.prove("after untrue reports");
}

/// What was spent becomes debt, the next credits repay it, and a dispute that is won gives back what it took.
#[tokio::test]
async fn a_dispute_becomes_debt_and_a_dispute_won_nets() {
    let directory = Directory::new("dispute");
    let store = Store::open(&directory.place(), Some(START)).expect("it opens");
    let workspace = sample::workspace(&store, None).await;
    let id = ordered(&store, sample::topup(workspace, 1_000)).await;
    let paid = sample::paid(id);
    let stands = async || {
        let balance = store.balance(workspace).await.expect("a balance");
        (balance.available, balance.debt)
    };
    store.apply_payment(workspace, id, paid.clone()).await.expect("paid");
    let charge = Command::Charge(sample::hold("work", 700, 1, 900));
    store.post(Post::new(workspace, charge, "key_1")).await.expect("covered");
    let disputed = Said { disputed: 4_900, ..paid };
    store.apply_payment(workspace, id, disputed.clone()).await.expect("disputed");
    assert_eq!(stands().await, (0, 700));
    let promo = Command::Grant(sample::grant(100, GrantKind::Promo, START, None));
    store.post(Post::new(workspace, promo, "operator")).await.expect("granted");
    assert_eq!(stands().await, (0, 600));
    let won = Said { reinstated: 4_900, ..disputed.clone() };
    store.apply_payment(workspace, id, won).await.expect("won");
    assert_eq!(stands().await, (400, 0));
    // The first report of the dispute comes once more, late.
    store.apply_payment(workspace, id, disputed).await.expect("known");
    assert_eq!(stands().await, (400, 0));
    temp::close(store).await;
    directory.prove("after a dispute");
}
