//! Ready to be spread over many machines (Citus): every key leads with the partition, and every statement of a charge stays in
//! one. Citus is not there in tests; what it refuses is known, so the schema and the statements are read for it.
//!
//! The statements are those that a server hears while everything that moves credits happens. Tried only where the suite has a
//! server (`SCRIP_TEST_DATABASE`); the schema is read everywhere.

use std::collections::{BTreeMap, BTreeSet};

use billing::{Command, GrantKind};
use scrip::config::PaymentsConfig;
use scrip::store::committer::Post;
use scrip::store::postgres::schema;
use serde_json::json;

use crate::http::Server;
use crate::nodes::Node;
use crate::proxy::Proxy;
use crate::sample::{self, START};
use crate::temp::{self, Directory};

/// Small tables that every machine has a copy of: what belongs to no workspace, or must be unique among all.
const EVERYWHERE: &[&str] = &[
    "meta",
    "external_id",
    "provider_object",
    "api_key",
    "session",
    "member",
    "sign_in",
    "password",
    "sign_in_attempt",
];

/// Statements that look at all partitions, by how they begin: what is due, and lists for the operator. None of them is waited
/// for by a charge.
const ACROSS: &[&str] = &[
    // The loops ask what is due, and claim it afterwards, each in its partition.
    "select workspace from hold where status < 3",
    "select min(at) from (select min(ends_at)",
    "select distinct w.workspace, w.job from work w join job j",
    "select j.workspace, j.id from job j join account a",
    "select min(j.running_since - j.ran",
    "select min(lease_until) from work",
    "select distinct workspace from pause where until",
    "select min(until) from pause",
    "select min(rests_until) from job",
    "select workspace, id from outbox where status = 0",
    "select min(due_at) from outbox",
    "select workspace, sender from mailbox where due_at",
    "select min(due_at) from mailbox",
    "select workspace, endpoint, min(due_at) from webhook_delivery",
    "select min(due_at) from webhook_delivery",
    "select min(next_period) from workspace",
    "select workspace, plan, next_plan from workspace",
    "select workspace, id from payment where next_attempt",
    "select min(next_attempt) from payment",
    "select workspace, pack from auto_buy where due_at",
    "select min(due_at) from auto_buy",
    "select workspace, name, plan",
    // Payments that a person may have made meanwhile.
    "select workspace, id from payment where status in (0, 5)",
    // A start sees whether every partition has its lane.
    "select partition from lane order by partition",
    // The operator's list.
    "select workspace from workspace order by workspace",
];

/// The tables of the schema: the name, and the text between its brackets.
fn tables(schema: &str) -> BTreeMap<String, String> {
    let create = schema.split("create table ").skip(1);
    let table = |text: &str| {
        let (name, rest) = text.split_once(" (").expect("a table has columns");
        let end = rest.find("\n);").or(rest.find(");")).expect("a table ends");
        (name.trim_matches('"').to_owned(), rest[..end].to_owned())
    };
    create.map(table).collect()
}

#[test]
fn every_key_of_a_table_with_a_partition_leads_with_it() {
    let schema = schema::schema();
    let tables = tables(&schema);
    assert!(tables.len() > 20, "{:?}", tables.keys());
    for (name, text) in &tables {
        let has_partition = text.contains("partition bigint not null");
        assert_ne!(has_partition, EVERYWHERE.contains(&name.as_str()), "{name}: in partitions or everywhere");
        for line in text.lines().filter(|_| has_partition) {
            let unique = line.contains("primary key") || line.contains("unique");
            assert!(!unique || line.contains("key (partition"), "{name}: {line}");
        }
        assert!(
            !text.contains("references"),
            "{name}: a foreign key would have to lead with the partition too"
        );
    }
    let mut unique = 0;
    for line in schema.lines().filter(|line| line.starts_with("create unique index")) {
        let (table, columns) =
            line.split_once(" on ").and_then(|(_, on)| on.split_once(" (")).expect("an index");
        let leads = columns.starts_with("partition, ") || EVERYWHERE.contains(&table.trim_matches('"'));
        assert!(leads, "{line}");
        unique += 1;
    }
    assert!(unique >= 4, "only {unique} unique indexes were read");
}

/// What is wrong with a statement, if anything: a table with a partition that it does not name as equal to something.
fn strays(sql: &str, spread: &BTreeSet<String>) -> Option<String> {
    let words: Vec<&str> =
        sql.split(|c: char| c.is_whitespace() || ",()".contains(c)).filter(|word| !word.is_empty()).collect();
    let mut rooted = sql.contains("partition = $");
    for (index, word) in words.iter().enumerate() {
        let begins = ["from", "join", "update", "into"].contains(word)
            && words.get(index.wrapping_sub(1)) != Some(&"do");
        let Some(table) = words.get(index + 1).map(|table| table.trim_matches('"')).filter(|_| begins) else {
            continue;
        };
        if !spread.contains(table) {
            continue;
        }
        if *word == "into" {
            let columns = sql.split_once('(').map_or("", |(_, columns)| columns);
            rooted |= columns.starts_with("partition,") || columns.starts_with("partition)");
            if !rooted {
                return Some(format!("an insert into {table} without its partition"));
            }
            continue;
        }
        let alias = words.get(index + 2).filter(|alias| alias.len() <= 2 && !["on", "as"].contains(alias));
        let named = match alias {
            Some(alias) => {
                sql.contains(&format!("{alias}.partition = "))
                    || sql.contains(&format!("= {alias}.partition"))
            }
            None => sql.contains(" partition = ") || sql.contains(&format!("{table}.partition = ")),
        };
        if !named {
            return Some(format!("{table} in all partitions"));
        }
    }
    let names_any = spread.iter().any(|table| words.iter().any(|word| word.trim_matches('"') == table));
    (names_any
        && !rooted
        && (sql.starts_with("select") || sql.starts_with("update") || sql.starts_with("delete")))
    .then(|| "no partition is given".to_owned())
}

#[test]
fn a_statement_that_strays_is_seen() {
    let spread = BTreeSet::from(["hold".to_owned(), "job".to_owned(), "work".to_owned()]);
    let strays = |sql: &str| strays(sql, &spread).is_some();
    for wrong in [
        "select id from hold where workspace = $1",
        "update hold set status = 3 where id = $1",
        "delete from hold",
        "insert into hold (workspace, id) values ($1, $2)",
        "select j.id from job j join work w on w.job = j.id where j.partition = $1",
        "select j.id from job j join work w on w.partition = j.partition and w.job = j.id",
    ] {
        assert!(strays(wrong), "{wrong}");
    }
    for right in [
        "select 1",
        "select id from hold where partition = $1 and workspace = $2",
        "insert into hold (partition, workspace, id) select * from unnest($1::int8[], $2::int8[], $3::int8[])",
        "select j.id from job j join work w on w.partition = j.partition and w.job = j.id where j.partition = $1",
    ] {
        assert!(!strays(right), "{right}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_of_a_charge_stays_in_its_partition() {
    let Some(directory) = Directory::shared("spread") else { return };
    let mut heard = posts(&directory).await;
    heard.extend(requests().await);
    let spread: BTreeSet<String> =
        tables(&schema::schema()).into_keys().filter(|name| !EVERYWHERE.contains(&name.as_str())).collect();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut read = 0;
    // What makes the schema is heard too, as one text of many statements.
    for sql in heard.iter().filter(|sql| !sql.contains("create table")) {
        let flat = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        read += 1;
        match ACROSS.iter().find(|across| flat.starts_with(**across)) {
            Some(across) => drop(used.insert(*across)),
            None => wrong.extend(strays(&flat, &spread).map(|why| format!("{why}: {flat}"))),
        }
    }
    println!("{read} statements were read, {} of them look across partitions", used.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(read > 80, "only {read} statements were heard");
    let unused: Vec<_> = ACROSS.iter().filter(|across| !used.contains(*across)).collect();
    assert!(unused.is_empty(), "nobody says these any more: {unused:#?}");
}

/// Everything that the store does with credits: posts alone and in batches, every kind of entry, a campaign, a sweep, a period.
async fn posts(directory: &Directory) -> BTreeSet<String> {
    let proxy = Proxy::new(&directory.url().expect("a server"));
    let way = directory.through(proxy.address, "");
    sample::make(&way).await;
    let node = Node::open(directory, START.plus_seconds(70 * sample::DAY));
    let workspace = sample::workspace(&node.store, None).await;
    let grant = Command::Grant(sample::grant(100_000, GrantKind::Purchased, START, None));
    node.store.post(Post::new(workspace, grant, "operator")).await.expect("granted");
    let hold = Post::new(workspace, Command::Hold(sample::hold("work", 1, 1, 900)), "key_1");
    assert!(node.store.post_all(vec![hold; 300]).await.iter().all(Result::is_ok));
    node.store.workspace_ids().await.expect("ids");
    node.store.open_payments(0, 1).await.expect("payments");
    node.store.reconciled(START).await.expect("kept");
    node.store.bind_account("acct_fake test".to_owned()).await.expect("bound");
    let heard = node.proxy.heard();
    temp::close(node.store).await;
    heard.into_iter().chain(proxy.heard()).collect()
}

/// The same from outside: requests, and the loops under a clock that is advanced.
async fn requests() -> BTreeSet<String> {
    let Some(directory) = Directory::shared("spread") else { return BTreeSet::new() };
    let proxy = Proxy::new(&directory.url().expect("a server"));
    let server = Server::at(directory.through(proxy.address, ""), Some(PaymentsConfig::Sandbox)).await;
    let made =
        json!({ "name": "One", "plan": "growth", "external_id": "one", "admin_email": "a@example.com" });
    let made = server.post("/v1/workspaces", "", made).await.about_a_workspace(201);
    let ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
    let secret = server.key(&ws).await.1;
    let work = json!({ "operation": "email_send", "quantity": 1 });
    for path in ["holds", "charges"] {
        let got = server.send(&secret, "POST", &format!("{ws}/{path}"), path, work.to_string()).await;
        let hold = got.about_a_workspace(201)["id"].as_str().expect("an id").to_owned();
        if path == "holds" {
            server.post(&format!("/v1/holds/{hold}/dispatch"), "", json!({})).await.about_a_workspace(200);
            server
                .post(&format!("/v1/holds/{hold}/settle"), "", json!({ "quantity": 1 }))
                .await
                .about_a_workspace(200);
        }
    }
    let hold = json!({ "do": "hold", "workspace": made["id"], "key": "b", "operation": "email_send", "quantity": 1 });
    assert_eq!(server.post("/v1/batch", "", json!({ "commands": [hold] })).await.status, 200);
    server.get(&format!("{ws}/balance")).await.about_a_workspace(200);
    server.get(&format!("{ws}/entries")).await.about_a_workspace(200);
    server.advance(40 * 86_400).await;
    proxy.heard()
}
