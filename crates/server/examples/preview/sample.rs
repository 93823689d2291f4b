//! The made-up values. Their sums agree with one another, as real ones would.

mod work;

use scrip::pages::view::chart::{Bucket, draw};
use scrip::pages::view::*;
pub(crate) use work::*;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Healthy,
    Low,
    Critical,
    Out,
    Restored,
    Owed,
}

pub(crate) const STATES: [(&str, Case); 6] = [
    ("healthy", Case::Healthy),
    ("low", Case::Low),
    ("critical", Case::Critical),
    ("out", Case::Out),
    ("restored", Case::Restored),
    ("owed", Case::Owed),
];

pub(crate) fn text(text: &str) -> String {
    text.to_owned()
}

/// 2026-11-DAY HOUR:MINUTE UTC, shown in a zone one hour ahead.
pub(crate) fn moment(day: u8, hour: u8, minute: u8) -> Moment {
    Moment {
        utc: format!("2026-11-{day:02}T{hour:02}:{minute:02}:00Z"),
        title: format!("{day} Nov 2026 {hour:02}:{minute:02} UTC"),
        local: format!("{} Nov {:02}:{minute:02}", day + (hour + 1) / 24, (hour + 1) % 24),
    }
}

fn available(case: Case) -> i64 {
    match case {
        Case::Healthy => 6_400,
        Case::Low => 1_240,
        Case::Critical => 310,
        Case::Out => 4,
        Case::Restored => 10_004,
        Case::Owed => 0,
    }
}

pub(crate) fn chip(case: Case, role: Role) -> Chip {
    let out = case == Case::Out;
    Chip {
        state: match case {
            Case::Healthy | Case::Restored => State::Healthy,
            Case::Low => State::Low,
            Case::Critical => State::Critical,
            Case::Out | Case::Owed => State::Out,
        },
        available: available(case),
        reserved: if out { 0 } else { 60 },
        needed: out.then_some(6),
        paused_campaigns: if out { 3 } else { 0 },
        pace: Some(310),
        days_left: (available(case) >= 310).then_some(available(case) / 310),
        renewal: Some(Renewal { date: text("14 Dec"), credits: 10_000 }),
        role,
        as_of: moment(22, 15, 4),
    }
}

fn banner(case: Case, role: Role) -> Banner {
    let available = available(case);
    match case {
        Case::Healthy => Banner::Nothing,
        Case::Low => Banner::Low { available, days_left: Some(4), active_campaigns: 3, role },
        Case::Critical => Banner::Critical { available, pauses_around: Some(text("23 Nov 16:00")), role },
        Case::Out => Banner::Out {
            available,
            needed: Some(6),
            paused_campaigns: 3,
            waiting_leads: 214,
            renewal: Some(text("14 Dec")),
            role,
        },
        Case::Restored => {
            Banner::Restored { added: 10_000, resumed_campaigns: 3, overdue_messages: 43, overdue_days: 2 }
        }
        Case::Owed => Banner::Owed { owed: 2_000, role },
    }
}

pub(crate) fn shell(case: Case, role: Role, tab: Tab) -> Shell {
    Shell {
        person: false,
        workspace: text("Workspace 0001"),
        role,
        tab: Some(tab),
        chip: chip(case, role),
        banner: banner(case, role),
        unread: Unread(if case == Case::Healthy { 0 } else { 2 }),
        flash: None,
    }
}

pub(crate) fn live() -> Live {
    Live {
        chip: chip(Case::Restored, Role::Admin),
        banner: banner(Case::Restored, Role::Admin),
        unread: Unread(3),
    }
}

pub(crate) fn billing(case: Case, role: Role) -> Billing {
    let available = available(case);
    let pack = |id: &str, credits, price_minor, note: Option<&str>| Pack {
        id: text(id),
        credits,
        bonus: 0,
        expires_days: None,
        price_minor,
        currency: text("usd"),
        note: note.map(text),
        selected: note.is_some(),
    };
    let shares = vec![
        Share { kind: text("Plan"), available: available / 2, expires: None },
        Share { kind: text("Bought"), available: available - available / 2, expires: None },
    ];
    Billing {
        shell: shell(case, role, Tab::Billing),
        reach: Reach { send_price: 2, campaign: Some(ReachCampaign { steps: 4, credits_per_lead: 32 }) },
        balance: Balance {
            available,
            reserved: if case == Case::Out { 0 } else { 60 },
            owed: if case == Case::Owed { 2_000 } else { 0 },
            unconfirmed: if case == Case::Low { 4 } else { 0 },
            pace: Some(310),
            lasts_until: (case == Case::Low).then(|| text("26 Nov")),
            due_now: 86,
            due_week: 700,
            shortfall: Some((6_820 - available).max(0)).filter(|missing| *missing > 0),
            shares: if case == Case::Out { vec![] } else { shares },
        },
        limits: limits(),
        plan: Some(Plan {
            label: text("Growth"),
            status: text("Active"),
            credits: 10_000,
            interval: text("month"),
            period: text("14 Nov – 14 Dec"),
            renewal: Some(Renewal { date: text("14 Dec"), credits: 10_000 }),
            unused: text("stay"),
            unpaid: None,
        }),
        buy: match role {
            Role::Admin => Buy::Packs {
                packs: vec![
                    pack("small", 1_000, 1_200, None),
                    pack("medium", 5_000, 5_500, None),
                    pack("large", 10_000, 10_000, Some("covers you past 14 Dec")),
                ],
                form_key: text("form-0001"),
                resumes: if case == Case::Out { 3 } else { 0 },
                tax: None,
                custom: None,
            },
            Role::Member => Buy::AskAdmin,
        },
        usage: usage(),
        history: history(),
        prices: prices(),
    }
}

fn usage() -> Usage {
    // Saved results, contacts, messages, sends, fields, previews; each column adds up to its row below.
    let days: [[i64; 6]; 9] = [
        [900, 300, 60, 40, 240, 14],
        [820, 420, 120, 80, 180, 12],
        [700, 480, 180, 120, 156, 10],
        [380, 420, 220, 160, 126, 6],
        [120, 300, 240, 180, 93, 6],
        [60, 240, 220, 160, 84, 4],
        [20, 210, 180, 130, 57, 4],
        [0, 150, 120, 90, 24, 2],
        [0, 60, 60, 40, 0, 2],
    ];
    let names = ["Saved results", "Contacts", "Messages", "Sends", "Fields", "Previews"];
    let buckets: Vec<Bucket> = days
        .iter()
        .enumerate()
        .map(|(day, credits)| Bucket {
            label: format!("{} Nov", day + 14),
            credits: names.iter().map(|name| text(name)).zip(credits.iter().copied()).collect(),
        })
        .collect();
    let row = |label: &str, note: Option<&str>, count, price: i64| UsageRow {
        label: text(label),
        note: note.map(text),
        count,
        price: Some(price),
        credits: count * price,
    };
    Usage {
        range: Range::Period,
        group: Group::Operation,
        chart: draw(&buckets),
        rows: vec![
            row("Discovery previews", None, 30, 2),
            row("Saved results (discovery and Clues)", None, 750, 4),
            row("E-mail/contact enrichment", None, 430, 6),
            row("Other fields", None, 320, 3),
            row("AI messages", Some("140 regenerated"), 700, 2),
            row("Sends", Some("e-mail 360 · LinkedIn 140"), 500, 2),
        ],
        total: 9_000,
        refunded: 0,
        previous: Some(7_412),
        not_charged: vec![
            (212, text("look-ups with no result")),
            (9, text("failed sends")),
            (38, text("duplicates")),
        ],
    }
}

fn history() -> History {
    let row = |at, what: &str, detail: &str, change, balance_after| HistoryRow {
        at,
        what: text(what),
        detail: text(detail),
        change,
        balance_after,
    };
    History {
        show: HistoryShow::All,
        rows: vec![
            row(moment(22, 15, 4), "E-mail enrichment", "Lead 0412 · Campaign 0001", -6, 4),
            row(moment(22, 15, 3), "E-mail send", "Lead 0398 · step 1 · Campaign 0001", -2, 10),
            row(moment(22, 15, 3), "Message", "Lead 0398 · step 1 · Campaign 0001", -2, 12),
            row(moment(22, 14, 58), "Company size", "Lead 0396 · not found", 0, 14),
            row(moment(13, 23, 0), "Renewal credits", "Growth, 14 Nov to 14 Dec", 10_000, 10_914),
        ],
        next: Some(text("913")),
    }
}

fn prices() -> Vec<Price> {
    let price = |label: &str, price, charged_on: &str| Price {
        label: text(label),
        price,
        charged_on: text(charged_on),
    };
    vec![
        price("Discovery preview", 2, "per preview"),
        price("Saved discovery or Clue result", 4, "per result"),
        price("E-mail/contact enrichment", 6, "per successful lead"),
        price("Other enrichment field", 3, "per successful field"),
        price("AI message, generated or regenerated", 2, "per generated message"),
        price("E-mail or LinkedIn send", 2, "per successful send"),
    ]
}

fn limits() -> Limits {
    let key = ("workspace", String::new(), "day");
    let (whose, used_by) = (text("Each campaign"), Some(text("Sample campaign")));
    let each = Limit {
        whose,
        per: text("in total"),
        used: 610,
        used_by,
        credits: 2_000,
        resets: None,
        key: ("campaign", String::new(), "total"),
    };
    let day = Limit {
        whose: text("Workspace"),
        per: text("a day"),
        used: 310,
        used_by: None,
        credits: 500,
        resets: Some(text("23 Nov 00:00")),
        key,
    };
    Limits { rows: vec![day, each], campaigns: vec![], form: LimitForm::default() }
}

pub(crate) fn empty_billing() -> Billing {
    let full = billing(Case::Healthy, Role::Admin);
    Billing {
        balance: Balance {
            available: 500,
            reserved: 0,
            pace: None,
            due_now: 0,
            due_week: 0,
            shortfall: None,
            shares: vec![Share { kind: text("Trial"), available: 500, expires: Some(moment(30, 12, 0)) }],
            ..full.balance
        },
        shell: Shell {
            chip: Chip {
                available: 500,
                reserved: 0,
                pace: None,
                days_left: None,
                renewal: None,
                ..full.shell.chip
            },
            ..full.shell
        },
        limits: Limits { rows: vec![], ..full.limits },
        plan: None,
        buy: Buy::Unavailable,
        usage: Usage {
            chart: draw(&[]),
            rows: vec![],
            total: 0,
            previous: None,
            not_charged: vec![],
            ..full.usage
        },
        history: History { rows: vec![], next: None, ..full.history },
        ..full
    }
}
