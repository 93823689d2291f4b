//! Random histories against a naive account of every charge: the same budgets allow and refuse the same work.

use serde_json::{Value, json};

use super::{Shop, one};
use crate::chance::{Chance, asked_for};

const LABELS: [&str; 3] = ["", "a", "b"];
const DAY: i64 = 86_400;

/// One hold or charge, as it stands.
#[derive(Debug)]
struct Deed {
    id: String,
    campaign: &'static str,
    member: &'static str,
    held: i64,
    /// Day and credits of the charge and of what was given back.
    charged: Vec<(i64, i64)>,
}

#[derive(Clone, Copy)]
struct Limit {
    scope: &'static str,
    label: &'static str,
    daily: bool,
    credits: i64,
}

impl Limit {
    fn label_of(&self, campaign: &'static str, member: &'static str) -> Option<&'static str> {
        let label = match self.scope {
            "workspace" => return Some(""),
            "campaign" => campaign,
            _ => member,
        };
        (!label.is_empty() && (self.label.is_empty() || self.label == label)).then_some(label)
    }

    fn used(&self, deeds: &[Deed], label: &str, today: i64) -> i64 {
        let own = || deeds.iter().filter(|deed| self.label_of(deed.campaign, deed.member) == Some(label));
        let counts = |day: &i64| !self.daily || *day == today;
        let charged =
            own().flat_map(|deed| &deed.charged).filter(|(day, _)| counts(day)).map(|(_, credits)| credits);
        charged.sum::<i64>().max(0) + own().map(|deed| deed.held).sum::<i64>()
    }

    fn shown(&self) -> Value {
        let mut shown = one(self.scope, if self.daily { "day" } else { "total" }, self.credits);
        if !self.label.is_empty() {
            shown["label"] = json!(self.label);
        }
        shown
    }
}

fn limits(chance: &mut Chance) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (scope, label) in
        [("workspace", ""), ("campaign", ""), ("campaign", "a"), ("member", ""), ("member", "b")]
    {
        for daily in [true, false] {
            if chance.once_in(2) {
                let most = if daily { 40 } else { 160 };
                limits.push(Limit { scope, label, daily, credits: chance.within(0, most) });
            }
        }
    }
    limits
}

async fn history(seed: u64) {
    let mut chance = Chance::new(seed);
    let shop = Shop::at("2027-01-31T12:00:00Z", "UTC").await;
    let (mut shop, mut seconds) = (shop, DAY / 2);
    let (mut all, mut deeds) = (limits(&mut chance), Vec::<Deed>::new());
    shop.set(json!(all.iter().map(Limit::shown).collect::<Vec<_>>())).await;
    for step in 0..60 {
        let today = seconds / DAY;
        let open: Vec<usize> = (0..deeds.len()).filter(|index| deeds[*index].held > 0).collect();
        match chance.within(0, 9) {
            0 => {
                let some = chance.within(1, DAY);
                shop.server.advance(some).await;
                seconds += some;
            }
            1 if chance.once_in(3) => {
                all = limits(&mut chance);
                shop.set(json!(all.iter().map(Limit::shown).collect::<Vec<_>>())).await;
            }
            2 | 3 if !open.is_empty() => {
                let deed = &mut deeds[chance.pick(&open).expect("one")];
                let quantity = chance.within(0, deed.held / 2);
                shop = shop.end(&deed.id.clone(), "settle", json!({ "quantity": quantity })).await;
                deed.held = 0;
                deed.charged.push((today, quantity * 2));
            }
            4 => {
                let left = |deed: &Deed| deed.charged.iter().map(|(_, credits)| credits).sum::<i64>();
                let Some(deed) = deeds.iter_mut().find(|deed| deed.held == 0 && left(deed) > 0) else {
                    continue;
                };
                let quantity = chance.within(1, left(deed) / 2);
                let body = json!({ "quantity": quantity, "reason": "it bounced" });
                shop = shop.end(&deed.id.clone(), "refund", body).await;
                deed.charged.push((today, -quantity * 2));
            }
            _ => {
                let (campaign, member) =
                    (chance.pick(&LABELS).expect("one"), chance.pick(&LABELS).expect("one"));
                let (quantity, is_hold) = (chance.within(1, 6), chance.once_in(2));
                let refused = refusal(&all, &deeds, (campaign, member), quantity * 2, today);
                let mut body = json!({ "operation": "email_send", "quantity": quantity, "campaign": campaign, "member": member });
                if is_hold {
                    body["expires_in_seconds"] = json!(604_800);
                }
                let got = shop
                    .post(&format!("{}/{}", shop.ws, if is_hold { "holds" } else { "charges" }), body)
                    .await;
                let said = (got.status == 402).then(|| {
                    let number = |name: &str| got.body[name].as_i64().expect("a number");
                    (number("limit"), number("used"))
                });
                assert_eq!(said, refused, "seed {seed}, step {step}: {}", got.body);
                if said.is_none() {
                    let id = got.body["id"].as_str().expect("an id").to_owned();
                    let amount = quantity * 2;
                    let (held, charged) = if is_hold { (amount, vec![]) } else { (0, vec![(today, amount)]) };
                    deeds.push(Deed { id, campaign, member, held, charged });
                }
            }
        }
    }
    let shown = shop.used().await;
    let most = |limit: &Limit| {
        let labels = LABELS.iter().filter(|label| label.is_empty() == (limit.scope == "workspace"));
        labels.map(|label| limit.used(&deeds, label, seconds / DAY)).max().unwrap_or(0)
    };
    assert_eq!(shown, all.iter().map(most).collect::<Vec<_>>(), "seed {seed}");
    shop.server.audit();
}

/// What the tightest says: limit and use.
fn refusal(
    limits: &[Limit],
    deeds: &[Deed],
    (campaign, member): (&'static str, &'static str),
    needed: i64,
    today: i64,
) -> Option<(i64, i64)> {
    let counted = limits.iter().filter_map(|limit| {
        let used = limit.used(deeds, limit.label_of(campaign, member)?, today);
        (used + needed > limit.credits).then_some((limit.credits, used))
    });
    counted.min_by_key(|(limit, used)| limit - used)
}

#[tokio::test]
async fn random_histories_meet_the_same_limits() {
    let first = asked_for("SEED", 1);
    for seed in first..first + asked_for("HISTORIES", 6) {
        history(seed).await;
    }
}
