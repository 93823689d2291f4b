use super::*;

const GOOD: &str = r#"version = 3
[operations.email_send]
label = "E-mail"
unit = "send"
price = 2
charged_on = "accepted"
[operations.alpha]
label = "Alpha"
unit = "call"
price = 0
charged_on = "always"
[plans.year_1]
label = "Yearly"
credits = 1_000
interval = "year"
price = { amount = 0, currency = "USD" }
[packs.p]
label = "P"
credits = 1000000000000
price.amount = 1000000000
price.currency = "EUR"
"#;

#[test]
fn a_good_catalog_keeps_its_order_and_its_numbers() {
    let catalog = Catalog::parse("x.toml", GOOD).unwrap();
    assert_eq!(catalog.version, 3);
    let names: Vec<_> = catalog.operations.iter().map(|operation| operation.operation.as_str()).collect();
    assert_eq!(names, ["email_send", "alpha"]);
    assert_eq!(catalog.operation("alpha").unwrap().price, 0);
    assert_eq!(catalog.plan("year_1").unwrap().interval, Interval::Year);
    assert_eq!(catalog.pack("p").unwrap().price, Price { amount: 1_000_000_000, currency: "EUR".into() });
    assert_eq!(catalog.operation("missing"), None);
}

#[test]
fn a_catalog_may_sell_nothing() {
    let catalog = Catalog::parse("x.toml", "version = 1").unwrap();
    assert_eq!((catalog.operations.len(), catalog.plans.len(), catalog.packs.len()), (0, 0, 0));
}

#[test]
fn the_builtin_catalog_has_the_documented_prices() {
    let catalog = Catalog::builtin();
    let prices: Vec<_> = catalog.operations.iter().map(|it| (it.operation.as_str(), it.price)).collect();
    assert_eq!(
        prices,
        [
            ("discovery_preview", 2),
            ("discovery_result", 4),
            ("clue_result", 4),
            ("contact_enrichment", 6),
            ("field_enrichment", 3),
            ("message_generation", 2),
            ("message_regeneration", 2),
            ("email_send", 2),
            ("linkedin_send", 2),
            ("sequence_launch", 0),
        ]
    );
    assert!(catalog.packs[0].credits >= 1_000);
    assert_eq!(catalog.plans.len(), 4);
    assert_eq!(catalog.custom.and_then(|custom| custom.price_of(1_001)), Some(2_503), "rounded up");
}

/// What a plan, a pack and the file may say besides; each wrong in one way.
#[test]
fn what_may_be_added_is_checked_as_well() {
    let plan = "interval = \"year\"";
    let good = [
        (
            plan,
            "interval = \"year\"\ngrants = \"quarter\"\nexpires = \"period_end\"\nrollover = 0\nupgrade = \"new_period\"",
        ),
        (plan, "interval = \"half_year\"\ntrial = { days = 14, credits = 50 }"),
        ("label = \"P\"", "label = \"P\"\nbonus = 5\nexpires_days = 30"),
        (
            "version = 3",
            "version = 3\nfrom = \"2027-01-01T00:00:00Z\"\ntax = { label = \"VAT\", rate = 1900 }",
        ),
    ];
    for (before, after) in good {
        Catalog::parse("x.toml", &GOOD.replacen(before, after, 1)).unwrap_or_else(|error| panic!("{error}"));
    }
    let plans = "x.toml:16: plans.year_1";
    let bad = [
        (
            plan,
            "interval = \"quarter\"\ngrants = \"half_year\"",
            format!("{plans}.grants: must fit a whole number of times into the interval"),
        ),
        (
            plan,
            "interval = \"year\"\nexpires = \"soon\"",
            format!("{plans}.expires: must be \"never\" or \"period_end\""),
        ),
        (
            plan,
            "interval = \"year\"\ntrial = { days = 0, credits = 5 }",
            format!("{plans}.trial.days: must be a whole number of days, 1 to 366"),
        ),
        (plan, "interval = \"year\"\ntrial = { days = 1 }", format!("{plans}.trial.credits: is missing")),
        (
            "label = \"P\"",
            "label = \"P\"\nexpires_days = 0",
            "x.toml:19: packs.p.expires_days: must be a whole number of days, 1 to 36600".to_owned(),
        ),
        (
            "version = 3",
            "version = 3\nfrom = \"soon\"",
            "x.toml:2: from: must be a moment such as \"2027-01-01T00:00:00Z\"".to_owned(),
        ),
        (
            "version = 3",
            "version = 3\ntax = { label = \"VAT\", rate = 10001 }",
            "x.toml:2: tax.rate: must be hundredths of a percent, 0 to 10000".to_owned(),
        ),
        (
            "version = 3",
            "version = 3\ncustom = { minimum = 9, maximum = 1, per = 1, price = { amount = 1, currency = \"EUR\" } }",
            "x.toml:2: custom.maximum: must not be below minimum".to_owned(),
        ),
        (
            "version = 3",
            "version = 3\ncustom = { minimum = 1, maximum = 1000000000000, per = 1, price = { amount = 1, currency = \"EUR\" } }",
            "x.toml:2: custom.maximum: must not cost more than 1000000000 minor units".to_owned(),
        ),
    ];
    for (before, after, expected) in &bad {
        check(before, after, expected);
    }
}

#[test]
fn an_interval_is_written_as_in_the_file() {
    assert_eq!(serde_json::to_string(&Interval::Month).unwrap(), "\"month\"");
}

/// Replaces `good` in the good catalog by `bad` and expects exactly this error.
fn check(good: &str, bad: &str, expected: &str) {
    assert!(GOOD.contains(good), "{good:?} is in the good catalog");
    assert_eq!(Catalog::parse("x.toml", &GOOD.replacen(good, bad, 1)).unwrap_err(), expected);
}

#[test]
fn a_bad_catalog_is_refused_in_one_line() {
    let price = "x.toml:5: operations.email_send.price: must be a whole number of credits, 0 to 1000000000";
    check("price = 2", "price = -1", price);
    check("price = 2", "price = 1.5", price);
    check("price = 2", "price = \"2\"", price);
    check("price = 2", "price = 1000000001", price);
    check("price = 2", "price = 99999999999999999999", price);
    check("price = 2\n", "\n", "x.toml:2: operations.email_send.price: is missing");
    check("version = 3", "", "x.toml:1: version: is missing");
    check("version = 3", "version = 0", "x.toml:1: version: must be a whole number, 1 or more");
    check(
        "price = 2",
        "price = 2\ncost = 1",
        "x.toml:6: operations.email_send.cost: unknown key (known here: label, unit, price, charged_on)",
    );
    check(
        "[packs.p]",
        "[bundles.p]",
        "x.toml:17: bundles: unknown key (known here: version, from, tax, operations, plans, packs, custom)",
    );
    check(
        "unit = \"send\"",
        "unit = \"\"",
        "x.toml:4: operations.email_send.unit: must be text of 1 to 200 characters",
    );
    check(
        "unit = \"send\"",
        "unit = 4",
        "x.toml:4: operations.email_send.unit: must be text of 1 to 200 characters",
    );
    check(
        "[operations.alpha]",
        "[operations.Alpha]",
        "x.toml:7: operations.Alpha: the name must be 1 to 64 of a-z, 0-9 and _",
    );
    check(
        "[operations.alpha]",
        "[operations.\"a\\nb\"]",
        "x.toml:7: operations.a b: the name must be 1 to 64 of a-z, 0-9 and _",
    );
    check("[operations.alpha]", "[operations.email_send]", "x.toml:7: operations.email_send: duplicate key");
    check("unit = \"call\"", "label = \"B\"", "x.toml:9: label: duplicate key");
    check(
        "\"year\"",
        "\"week\"",
        "x.toml:15: plans.year_1.interval: must be \"month\" or \"quarter\" or \"half_year\" or \"year\"",
    );
    check(
        "credits = 1_000\n",
        "credits = 0\n",
        "x.toml:14: plans.year_1.credits: must be a whole number of credits, 1 to 1000000000000",
    );
    check(
        "1000000000000",
        "1000000000001",
        "x.toml:19: packs.p.credits: must be a whole number of credits, 1 to 1000000000000",
    );
    check("\"USD\"", "\"usd\"", "x.toml:16: plans.year_1.price.currency: must be three uppercase letters");
    check("amount = 0, ", "", "x.toml:16: plans.year_1.price.amount: is missing");
    check(
        "amount = 0, ",
        "amount = 0.5, ",
        "x.toml:16: plans.year_1.price.amount: must be a whole number of minor units, 0 to 1000000000",
    );
    check(
        "price = { amount = 0, currency = \"USD\" }",
        "price = 3",
        "x.toml:16: plans.year_1.price: must be a table",
    );
}

#[test]
fn what_is_not_toml_is_refused_in_one_line() {
    for text in ["version", "version = ", "[", "= 3", "version = 1\n\u{0}", "version = \"\"\"\n\n"] {
        let error = Catalog::parse("x.toml", text).unwrap_err();
        assert!(error.starts_with("x.toml:") && !error.contains('\n'), "{error:?}");
    }
}
