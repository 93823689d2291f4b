//! Made-up campaigns, leads, searches, and the pages outside a workspace.

use scrip::pages::view::*;

use super::{Case, moment, shell, text};

fn state(id: &str, standing: Standing, reasons: Vec<Why>) -> CampaignState {
    let reasons = reasons.into_iter().map(|why| PauseReason { why, since: moment(22, 15, 4) }).collect();
    CampaignState { id: text(id), standing, reasons }
}

fn counts(total: i64, active: i64, replied: i64, completed: i64) -> LeadCounts {
    LeadCounts { total, active, replied, completed, failed: total - active - replied - completed }
}

pub(crate) fn campaigns(case: Case) -> Campaigns {
    let out = || Why::OutOfCredits { needed: 6, available: 4 };
    let row =
        |name: &str, state, leads, credits_used| CampaignRow { name: text(name), state, leads, credits_used };
    Campaigns {
        shell: shell(case, Role::Admin, Tab::Campaigns),
        rows: vec![
            row("Campaign 0004", state("camp_0004", Standing::Draft, vec![]), counts(120, 120, 0, 0), 0),
            row(
                "Campaign 0003",
                state("camp_0003", Standing::Paused, vec![out()]),
                counts(94, 80, 9, 4),
                1_310,
            ),
            row(
                "Campaign 0002",
                state(
                    "camp_0002",
                    Standing::Paused,
                    vec![out(), Why::Person { by: Some(text("Member 0002")) }],
                ),
                counts(66, 54, 6, 6),
                980,
            ),
            row("Campaign 0001", state("camp_0001", Standing::Active, vec![]), counts(80, 80, 0, 0), 4_212),
            row(
                "Campaign 0000",
                state("camp_0000", Standing::Completed, vec![]),
                counts(40, 0, 7, 31),
                1_144,
            ),
        ],
        next: Some(text("cursor-1")),
    }
}

pub(crate) fn campaign(case: Case, standing: Standing) -> Campaign {
    let reasons = match standing {
        Standing::Paused => vec![Why::OutOfCredits { needed: 6, available: 4 }],
        _ => vec![],
    };
    let step = |number, channel: &str, day, timing: &str, waiting, sent| StepRow {
        number,
        channel: text(channel),
        day,
        timing: text(timing),
        waiting,
        sent,
        skipped: 14 - number,
        failed: 1,
        in_doubt: number % 2,
    };
    let lead = |number: u32, step: &str, state: &str, due| CampaignLead {
        name: format!("Lead {number:04}"),
        company: format!("Company {number:04}"),
        step: text(step),
        state: text(state),
        due,
    };
    let shell = shell(case, Role::Admin, Tab::Campaigns);
    Campaign {
        estimate: Some(Estimate {
            credits: 828,
            available: shell.chip.available,
            others: if standing == Standing::Draft { 700 } else { 0 },
        }),
        shell,
        name: text("Campaign 0001"),
        state: state("camp_0001", standing, reasons),
        leads: counts(120, 96, 13, 8),
        credits_used: 4_212,
        credit_cap: Some(6_000),
        form_key: text("00ff"),
        to_review: 0,
        timeline: Timeline { turns: vec![(moment(22, 15, 4), text("Launched"))], more: false },
        steps: vec![
            step(1, "E-mail", 1, "at once", 6, 100),
            step(2, "LinkedIn invite", 4, "3 days after step 1, if no reply", 41, 52),
            step(3, "E-mail", 6, "2 days after step 2, if no reply", 30, 20),
            step(4, "LinkedIn message", 8, "2 days after step 3, if no reply", 19, 0),
        ],
        rows: vec![
            lead(412, "Step 2 of 4", "waiting", Some(moment(23, 8, 0))),
            lead(398, "Step 1 of 4", "in doubt: may have been sent", None),
            lead(396, "Step 3 of 4", "replied", None),
        ],
        next: Some(text("cursor-1")),
    }
}

pub(crate) fn leads() -> Leads {
    let row = |number: u32, email_verified, stage: &str| LeadRow {
        id: format!("lead_{number:04}"),
        name: format!("Lead {number:04}"),
        title: text("Head of sales"),
        company: format!("Company {number:04}"),
        email: (number != 396).then(|| format!("lead{number:04}@example.com")),
        email_verified,
        stage: text(stage),
    };
    let rejected = Rejected { row: 7, field: text("email"), reason: text("not an e-mail address") };
    Leads {
        shell: shell(Case::Healthy, Role::Member, Tab::Leads),
        total: 1_214,
        rows: vec![
            row(412, true, "In a campaign"),
            row(398, false, "E-mail found"),
            row(396, false, "Discovered"),
        ],
        next: Some(text("cursor-1")),
        import: Some(Import {
            created: 118,
            merged: 2,
            refused: 1,
            rejected: vec![rejected],
            fields: String::new(),
        }),
    }
}

pub(crate) fn leads_empty() -> Leads {
    Leads { total: 0, rows: vec![], next: None, import: None, ..leads() }
}

pub(crate) fn searches(case: Case, available: i64) -> Searches {
    let row = |number: u32, status: &str, standing, whys: Vec<Why>, delivered| SearchRow {
        id: format!("job_{number:04}"),
        query: format!("Sample search {number:04}"),
        kind: text("Leads"),
        at: moment(21, 9, 30),
        status: text(status),
        standing,
        reasons: state("", standing, whys).reasons,
        requested: 500,
        delivered,
        duplicates: 38,
        credits_used: delivered * 4,
        can_cancel: matches!(standing, Standing::Active | Standing::Paused),
    };
    let person = |number: u32| PreviewRow {
        name: format!("Lead {number:04}"),
        title: text("Founder"),
        company: format!("Company {number:04}"),
    };
    Searches {
        shell: shell(case, Role::Admin, Tab::Searches),
        available,
        preview_price: 2,
        result_price: 4,
        query: text("Founders of sample companies"),
        kind: text("leads"),
        limits: [50, 100, 200, 500].map(|results| SearchLimit { results, selected: results == 200 }).to_vec(),
        form_key: text("form-0002"),
        preview: Some(Preview { charged: 2, rows: vec![person(501), person(502), person(503)] }),
        rows: vec![
            row(3, "Running", Standing::Active, vec![], 120),
            row(2, "Paused", Standing::Paused, vec![Why::OutOfCredits { needed: 4, available: 1 }], 310),
            row(1, "Completed", Standing::Completed, vec![], 462),
        ],
        next: None,
    }
}

pub(crate) fn searches_empty() -> Searches {
    Searches { preview: None, rows: vec![], query: String::new(), ..searches(Case::Healthy, 6_400) }
}

pub(crate) fn notices() -> Notices {
    let notice = |id: &str, tone, title: &str, body: &str, read| Notice {
        id: text(id),
        tone,
        title: text(title),
        body: text(body),
        at: moment(22, 15, 4),
        read,
    };
    Notices {
        shell: shell(Case::Out, Role::Member, Tab::Notices),
        rows: vec![
            notice(
                "ntf_3",
                NoticeTone::Bad,
                "Out of credits",
                "3 campaigns are paused at their current step. Nothing is lost: 214 leads keep their place.",
                false,
            ),
            notice("ntf_2", NoticeTone::Low, "Credits are running low", "1,240 left, about 4 days.", false),
            notice("ntf_1", NoticeTone::Good, "10,000 credits added", "Growth, 14 Nov to 14 Dec.", true),
            notice("ntf_0", NoticeTone::Note, "Search completed", "462 results, 38 duplicates free.", true),
        ],
        next: None,
    }
}

pub(crate) fn settings() -> Settings {
    let mut shell = shell(Case::Healthy, Role::Admin, Tab::Account);
    shell.flash = Some(Flash::Done(text("Saved.")));
    Settings {
        shell,
        workspace_id: text("ws_0001"),
        time_zone: text("Europe/Madrid"),
        signed_in_as: Some(text("admin@example.com")),
        operator: false,
        low_below: 2_000,
        low_rule: text("20% of the plan's credits"),
        critical_below: 500,
        critical_rule: text("5% of the plan's credits"),
        alert_emails: vec![text("admin@example.com"), text("finance@example.com")],
        alerts: AlertForm {
            low: text("20%"),
            critical: text("500"),
            emails: text("admin@example.com, finance@example.com"),
            ..AlertForm::default()
        },
    }
}

pub(crate) fn admin() -> Admin {
    let row = |number: u32, state, available, owed| AdminWorkspace {
        id: format!("ws_{number:04}"),
        name: format!("Workspace {number:04}"),
        plan: (number != 3).then(|| text("Growth")),
        state,
        available,
        reserved: 60,
        owed,
    };
    Admin {
        flash: Some(Flash::Failed(text("No workspace has the id ws_9999."))),
        query: String::new(),
        rows: vec![
            row(1, State::Out, 4, 0),
            row(2, State::Low, 1_240, 0),
            row(3, State::Healthy, 1_006_400, 0),
            row(4, State::Out, 0, 2_000),
        ],
        next: Some(text("cursor-1")),
        chosen: Some(text("ws_0001")),
        form_key: text("form-0003"),
    }
}

pub(crate) fn checkout(status: &str) -> Checkout {
    Checkout {
        payment: text("topup_0001"),
        token: text("token-0001"),
        return_url: text("/billing"),
        workspace: text("Workspace 0001"),
        title: text("10,000 credits"),
        price_minor: 10_000,
        currency: text("usd"),
        cards: vec![("pays", "Card that pays"), ("declined", "Card that is declined")],
        second_step: false,
        status: text(status),
    }
}

pub(crate) fn error(shell: Option<Shell>) -> ErrorPage {
    ErrorPage {
        shell,
        status: 404,
        title: text("This page does not exist"),
        detail: text("The link may be old, or it belongs to another workspace."),
        action: text("Go to billing"),
        action_url: text("/billing"),
    }
}

pub(crate) fn review() -> Review {
    let row = |lead: i64, step: i64| ReviewRow {
        id: format!("msg_{lead:04}"),
        name: format!("Lead {lead:04}"),
        company: format!("Company {lead:04}"),
        step,
        subject: (step == 1).then(|| text("A question about Company growth")),
        text: format!("Hello Lead {lead:04},\n\ntwo sentences that were written for you.\n\nSender 0001"),
        since: moment(22, 9, 30),
    };
    Review {
        shell: shell(Case::Healthy, Role::Member, Tab::Campaigns),
        campaign: text("camp_0003"),
        name: text("Campaign 0003"),
        waiting: 41,
        rows: vec![row(412, 1), row(398, 2)],
        next: Some(text("398")),
    }
}

fn sender_row(id: &str, email: bool, from: &str, active: bool) -> SenderRow {
    SenderRow {
        id: text(id),
        email,
        from: text(from),
        through: text(if email { "mail.example.com:587" } else { "account-0002" }),
        sent_today: 38,
        daily_limit: 200,
        hours: text(if email { "09:00 to 17:00, mon tue wed thu fri" } else { "at any hour" }),
        spacing: if email { 90 } else { 0 },
        active,
        mailbox: None,
    }
}

fn sender_form() -> SenderForm {
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].into_iter().enumerate();
    SenderForm {
        email: true,
        daily_limit: text("200"),
        hours: text("09:00-17:00"),
        days: days.map(|(index, day)| (day, index < 5)).collect(),
        spacing: text("90"),
        ..SenderForm::default()
    }
}

pub(crate) fn senders() -> Senders {
    Senders {
        shell: shell(Case::Healthy, Role::Admin, Tab::Account),
        rows: vec![
            sender_row("sender_0001", true, "Team <team@example.com>", true),
            sender_row("sender_0002", false, "Sender 0002", false),
        ],
        form: SenderForm {
            days: sender_form().days.into_iter().map(|(day, _)| (day, false)).collect(),
            ..sender_form()
        },
        form_key: text("form-0002"),
    }
}

pub(crate) fn sender() -> SenderPage {
    SenderPage {
        shell: shell(Case::Healthy, Role::Admin, Tab::Account),
        row: sender_row("sender_0001", true, "Team <team@example.com>", true),
        form: sender_form(),
    }
}

pub(crate) fn margin() -> Margin {
    let row = |label: &str, units, price: i64, value: &str, cost: &str, margin: &str| MarginRow {
        label: text(label),
        units,
        credits: units * price,
        value: text(value),
        listed: None,
        others: vec![],
        cost: text(cost),
        margin: text(margin),
    };
    let provider = |provider: &str, label: &str, calls, found, cost: &str| CostRow {
        provider: text(provider),
        label: text(label),
        calls,
        found,
        percent: found * 100 / calls,
        cost: text(cost),
    };
    Margin {
        flash: None,
        from: text("2026-10-24"),
        to: text("2026-11-23"),
        rows: vec![
            MarginRow {
                listed: Some(text("€4.50")),
                others: vec![text("$12.00")],
                ..row("E-mail/contact enrichment", 430, 6, "€64.50", "€31.97", "€32.53")
            },
            row("E-mail send", 360, 2, "€18.00", "€0.144", "€17.856"),
        ],
        value: text("€82.50"),
        cost: text("€32.114"),
        margin: text("€50.386"),
        providers: vec![
            provider("contacts", "E-mail/contact enrichment", 612, 281, "€14.05"),
            provider("companies", "E-mail/contact enrichment", 331, 149, "€17.92"),
            provider("email", "E-mail send", 366, 360, "€0.144"),
        ],
    }
}

pub(crate) fn lead() -> LeadPage {
    let call = |minute, what: &str, provider: &str, heard: &str, detail: &str| LeadCall {
        at: moment(22, 15, minute),
        what: text(what),
        provider: text(provider),
        heard: text(heard),
        detail: text(detail),
    };
    LeadPage {
        shell: shell(Case::Healthy, Role::Member, Tab::Leads),
        id: text("lead_0412"),
        name: text("Lead 0412"),
        title: text("Head of Sales"),
        company: text("Company 0412"),
        linkedin_url: Some(text("https://www.linkedin.com/in/lead-0412")),
        email: Some(text("lead0412@example.com")),
        email_verified: true,
        fields: vec![(text("company_size"), text("120"))],
        calls: vec![
            call(4, "contact", "companies", "found", ""),
            call(3, "contact", "contacts", "nothing found", ""),
            call(1, "company size", "companies", "to be tried again", "companies answered 503"),
        ],
        next: None,
    }
}
