//! Files of leads as people upload them: what is taken, what is refused, and that nothing is half done in silence.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{World, emails};

async fn upload(world: &World, file: impl Into<Vec<u8>>) -> (StatusCode, Value) {
    let request = reqwest::Client::new().post(world.url(&world.here("leads"))).bearer_auth("operator");
    let request = request.header("content-type", "text/csv").body(file.into());
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

/// So many leads there are.
async fn count(world: &World) -> usize {
    world.items("leads?limit=500").await.len()
}

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[tokio::test]
async fn a_file_that_cannot_be_read_adds_nothing_and_says_why() {
    let world = World::new(10).await;
    let row = |number: usize| format!("Lead {number:06},lead{number:06}@example.com\n");
    let many: String = (0..100_000).map(row).collect();
    let table: [(&str, Vec<u8>, &str, &str); 11] = [
        ("leads", Vec::new(), "empty", "nothing at all"),
        ("leads", utf_16("\u{feff}name,email\nAda,ada@example.com\n"), "UTF-16", "UTF-16 with its mark"),
        ("leads", utf_16("name,email\nAda,ada@example.com\n"), "UTF-16", "UTF-16 without"),
        ("leads", b"name,notes\nAda,\"never ends\nBob,x\n".to_vec(), "line 2", "an open quote"),
        ("leads", b"name,\"notes\nAda,x\n".to_vec(), "line 1", "an open quote in the header"),
        ("leads", format!("name,email\n{many}").into_bytes(), "10000", "100,000 rows"),
        ("header", b"name;email\nAda;ada@example.com\n".to_vec(), "commas", "semicolons"),
        ("header", b"first,second\nAda,Bob\n".to_vec(), "linkedin_url", "no known column"),
        ("header", b"name,email,NAME\nAda,,\n".to_vec(), "twice", "a column twice"),
        ("header", b"name,not\xe9s\nAda,x\n".to_vec(), "UTF-8", "Latin-1 in the header"),
        (
            "header",
            format!("name,{}\nAda,x\n", "x".repeat(100_000)).into_bytes(),
            "64",
            "a column without end",
        ),
    ];
    for (field, file, word, what) in table {
        let (status, answer) = upload(&world, file).await;
        assert_eq!((status, &answer["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)), "{what}");
        let detail = answer["detail"].as_str().expect("a detail");
        assert!(detail.contains(word) && detail.len() < 400, "{what}: {detail}");
        assert_eq!(count(&world).await, 0, "{what}");
    }
    let (status, answer) = upload(&world, vec![b'x'; 5 * 1024 * 1024]).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &json!("body_too_large")),
        "{answer}"
    );
    world.end().await;
}

#[tokio::test]
async fn every_row_is_added_merged_or_named() {
    let world = World::new(10).await;
    // The rows' lines, what becomes of each, and the column that is named.
    let rows: [(&[u8], &str, Option<&str>); 17] = [
        (b"Ada,ada@example.com,Engines", "created", None),
        (b"Ada,ADA@EXAMPLE.COM,Engines", "merged", None),
        (b"\"Lee, Bob\",bob@example.com,\"The \"\"Best\"\" Inc\"", "created", None),
        (b"=HYPERLINK(\"\"http://x\"\"),cy@example.com,@SUM(A1)", "created", None),
        (b"Dee,dee@example.com\xe9,Caf", "rejected", Some("email")),
        (b"Eve,eve@example.com,Caf\xe9", "rejected", Some("company")),
        (b"Fay,not an address,", "rejected", Some("email")),
        (b"Gil,gil@@example.com,", "rejected", Some("email")),
        (b"Hal,\"hal@example.com\nBcc: x@example.com\",", "rejected", Some("email")),
        (b"Ida,\"\"\"ida\n\"\"@example.com\",", "rejected", Some("email")),
        (b"\"Jo\r\nBcc: x@example.com\",jo@example.com,", "rejected", Some("name")),
        (b"Kit,kit@example.com,\"Inc\nX-More: 1\"", "rejected", Some("company")),
        (b"Lou,lou@example.com", "rejected", None),
        (b"Max,max@example.com,Inc,more", "rejected", None),
        (b",,Nobody Inc", "rejected", None),
        (b"Ned,lou@exam\x00ple.com,", "rejected", Some("email")),
        ("Öz\u{2028}gür,oz@example.com,Çelik".as_bytes(), "created", None),
    ];
    let mut file = b"\xef\xbb\xbfName,EMAIL,Company\r\n".to_vec();
    let (mut line, mut expected) = (2_u64, Vec::new());
    for (row, becomes, field) in rows {
        if becomes == "rejected" {
            expected.push((json!(line), json!(field)));
        }
        file.extend_from_slice(row);
        file.extend_from_slice(b"\r\n");
        line += 1 + row.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    let (status, answer) = upload(&world, file).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let sum = |what| rows.iter().filter(|(_, becomes, _)| *becomes == what).count();
    assert_eq!(
        (&answer["created"], &answer["merged"]),
        (&json!(sum("created")), &json!(sum("merged"))),
        "{answer}"
    );
    let rejected = answer["rejected"].as_array().expect("a list");
    let named: Vec<_> = rejected.iter().map(|bad| (bad["row"].clone(), bad["field"].clone())).collect();
    assert_eq!(named, expected, "{answer}");
    assert!(rejected.iter().all(|bad| bad["reason"].as_str().is_some_and(|why| !why.is_empty())), "{answer}");
    let leads = world.items("leads?limit=500").await;
    assert_eq!(leads.len(), sum("created"));
    let names: Vec<_> = leads.iter().rev().map(|lead| (&lead["name"], &lead["company"])).collect();
    assert_eq!(names[1], (&json!("Lee, Bob"), &json!("The \"Best\" Inc")));
    assert_eq!(
        names[2],
        (&json!("=HYPERLINK(\"\"http://x\"\")"), &json!("@SUM(A1)")),
        "a formula is kept as data"
    );
    world.end().await;
}

#[tokio::test]
async fn an_unknown_column_is_a_field_and_no_field_reaches_a_header_as_it_is() {
    let world = World::new(100).await;
    let file = "name,email,Notes\nAda,ada@example.com,\"first\r\nBcc: x@example.com\r\n\r\nbody\"\n";
    let (_, answer) = upload(&world, file).await;
    assert_eq!(answer["created"], 1, "{answer}");
    assert_eq!(answer["warnings"][0]["field"], "Notes", "{answer}");
    let lead = world.items("leads").await[0].clone();
    assert_eq!(lead["fields"]["Notes"], "first\r\nBcc: x@example.com\r\n\r\nbody");
    let mut campaign = emails(&[0]);
    campaign["steps"][0]["subject"] = json!("About {{Notes}}");
    world.campaign(campaign, &[crate::world::text(&lead, "id")]).await;
    world.advance(0).await;
    let mails = world.sink.messages();
    assert_eq!((mails.len(), mails[0].subject.as_str()), (1, "About first Bcc: x@example.com body"));
    assert_eq!(mails[0].to, "ada@example.com");
    world.end().await;
}

#[tokio::test]
async fn every_column_that_no_lead_has_is_named_in_the_answer() {
    let world = World::new(10).await;
    let file = "Name,e-mail,Team Size,EMAIL\nAda,ada@old.example.com,12,ada@example.com\n";
    let (_, answer) = upload(&world, file).await;
    let warnings = answer["warnings"].as_array().expect("a list");
    let named: Vec<_> = warnings.iter().map(|warning| warning["field"].clone()).collect();
    assert_eq!(named, ["e-mail", "Team Size"], "{answer}");
    assert!(
        warnings.iter().all(|warning| warning["reason"].as_str().is_some_and(|why| why.contains("fields")))
    );
    let (_, answer) = upload(&world, "name,title\nBob,CTO\n").await;
    assert_eq!(answer["warnings"], json!([]));
    world.end().await;
}

/// What launching says of a template.
async fn launch(world: &World, template: &str) -> StatusCode {
    let mut campaign = emails(&[0]);
    campaign["steps"][0]["template"] = json!(template);
    let id = crate::world::text(&world.post(&world.here("campaigns"), campaign).await, "id");
    world.send(reqwest::Method::POST, &format!("/v1/campaigns/{id}/launch"), Value::Null).await.0
}

/// The names of fields are learned wherever leads come from, and asked for without a look at any lead.
#[tokio::test]
async fn a_launch_knows_the_fields_of_all_leads_from_wherever_they_came() {
    let world = World::new(1_000).await;
    assert_eq!(launch(&world, "{{team_size}}").await, StatusCode::UNPROCESSABLE_ENTITY);
    upload(&world, "name,email,team_size,Größe\nAda,ada@example.com,12,x\n").await;
    let lead = json!({ "name": "Bob", "fields": { "city": "Graz" } });
    world.post(&world.here("leads"), json!({ "leads": [lead] })).await;
    let merged = json!({ "name": "Ada", "email": "ada@example.com", "fields": { "land": "AT" } });
    world.post(&world.here("leads"), json!({ "leads": [merged] })).await;
    world.post(&world.here("searches"), json!({ "query": { "first": 1, "total": 5 }, "limit": 5 })).await;
    let leads: Vec<Value> = world.items("leads").await.iter().map(|lead| lead["id"].clone()).collect();
    world.post(&world.here("enrichments"), json!({ "leads": leads, "fields": ["industry"] })).await;
    world.advance(0).await;
    // Held against all leads, as they are.
    let leads = world.items("leads?limit=500").await;
    let fields = leads.iter().flat_map(|lead| lead["fields"].as_object().expect("an object").keys());
    let fields: std::collections::BTreeSet<&String> = fields.collect();
    assert!(
        ["team_size", "city", "land", "industry"].iter().all(|name| fields.contains(&(*name).to_owned()))
    );
    assert_eq!(
        world.directory().number("select count(*) from lead_field"),
        fields.len() as i64,
        "{fields:?}"
    );
    for name in ["team_size", "city", "land", "industry"] {
        assert_eq!(launch(&world, &format!("{{{{{name}}}}}")).await, StatusCode::OK, "{name}");
    }
    for name in ["team", "Team_Size", "cities"] {
        let refused = StatusCode::UNPROCESSABLE_ENTITY;
        assert_eq!(launch(&world, &format!("{{{{{name}}}}}")).await, refused, "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_a_spreadsheet_would_run_leaves_as_text() {
    let world = World::new(100).await;
    for label in ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1"] {
        let hold = json!({ "operation": "email_send", "quantity": 1, "campaign": label, "reference": label });
        let hold = crate::world::text(&world.post(&world.here("holds"), hold).await, "id");
        world.post(&format!("/v1/holds/{hold}/settle"), json!({ "quantity": 1 })).await;
    }
    for path in ["entries.csv", "usage.csv?group_by=campaign"] {
        let request = reqwest::Client::new().get(world.url(&world.here(path))).bearer_auth("operator");
        let file = request.send().await.expect("an answer").text().await.expect("text");
        let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(file.as_bytes());
        let (mut risky, mut kept) = (0, 0);
        for record in reader.records() {
            for cell in record.expect("a record").iter().filter(|cell| cell.parse::<i64>().is_err()) {
                risky += usize::from(cell.starts_with(['=', '+', '-', '@', '＝']));
                kept += usize::from(cell.starts_with("'"));
            }
        }
        assert!(risky == 0 && kept >= 5, "{path}: {risky} {kept}\n{file}");
    }
    world.end().await;
}
