//! `pages`: what people see of a workspace with a tenth of all entries: how long the server takes, and how much it sends.
//!
//! Each address is asked for in turn, many times, over one connection, while nothing else happens; then all of them, of the large
//! workspace and of one that nothing was ever charged in, are compared.

use crate::growth::{DAYS, grow};
use crate::http::Connection;
use crate::live::sign_in;
use crate::load::create_purses;
use crate::options::Options;
use crate::results::{machine, publish};
use crate::server::{Server, Site};
use crate::stats::{Measured, milliseconds, thousands};
use anyhow::{Result, ensure};
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// How often each address is asked for.
const ASKED: usize = 300;
/// As many more before, which are not counted.
const WARM: usize = 10;

/// What is looked at.
const PAGES: [(&str, &str); 7] = [
    ("Billing", "/billing"),
    ("Billing, this period by campaign", "/billing?range=period&group=campaign"),
    ("Billing, 7 days by person", "/billing?range=7d&group=member"),
    ("Billing, history of what was used", "/billing?show=used"),
    ("Billing, history of what was added", "/billing?show=added"),
    ("Notifications", "/notifications"),
    ("Campaigns", "/campaigns"),
];

/// One address as it was answered.
struct Asked {
    measured: Measured,
    slowest_us: u32,
    bytes: usize,
}

pub(crate) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let mut site = Site::new(options.scrip()?, scratch);
    site.clock = Some("manual=2027-01-01T00:00:00Z".to_owned());
    let server = site.start().await?;
    let mut purses = create_purses(&server, options.workspaces).await?;
    grow(&server, &mut purses, options.entries).await?;
    let large = purses[0].workspace.clone();
    let entries = entries(&server, &large).await?;
    let mut connection = server.connect().await?;
    let empty = connection
        .call("POST", "/v1/workspaces", None, &json!({"name": "Nothing yet"}))
        .await?
        .expect(201)?;
    let empty = empty["id"].as_str().unwrap_or_default().to_owned();
    let cookies = [sign_in(&mut connection, &large).await?, sign_in(&mut connection, &empty).await?];
    let mut text = facts(options, entries);
    for (label, path) in PAGES {
        let [large, empty] =
            [ask(&mut connection, &cookies[0], path).await?, ask(&mut connection, &cookies[1], path).await?];
        text.push_str(&format!(
            "| {label} | {} | {} | {} | {} | {} | {} |\n",
            milliseconds(large.measured.p50_us),
            milliseconds(large.measured.p99_us),
            milliseconds(u64::from(large.slowest_us)),
            kilobytes(large.bytes),
            milliseconds(empty.measured.p99_us),
            kilobytes(empty.bytes),
        ));
        println!("{label}: {} ms", milliseconds(large.measured.p99_us));
    }
    text.push_str(&transferred(&mut connection, &cookies[0]).await?);
    server.stop().await?;
    publish(options.results.as_deref(), "pages", &text)
}

/// How many entries a workspace has: the number of its newest.
async fn entries(server: &Server, workspace: &str) -> Result<u64> {
    let page = server.connect().await?.get(&format!("/v1/workspaces/{workspace}/entries?limit=1")).await?;
    Ok(page["items"][0]["seq"].as_u64().unwrap_or(0))
}

async fn ask(connection: &mut Connection, cookie: &str, path: &str) -> Result<Asked> {
    let (mut times, mut bytes) = (Vec::with_capacity(ASKED), 0);
    for number in 0..WARM + ASKED {
        let begun = Instant::now();
        let answer = connection.look(path, cookie).await?;
        ensure!(answer.status == 200, "{path} answered {}", answer.status);
        bytes = answer.length;
        if number >= WARM {
            times.push(u32::try_from(begun.elapsed().as_micros())?);
        }
    }
    let slowest_us = times.iter().copied().max().unwrap_or(0);
    Ok(Asked { measured: Measured::new(0, times), slowest_us, bytes })
}

/// The page, and everything that it loads, as it is sent to a browser that comes for the first time.
async fn transferred(connection: &mut Connection, cookie: &str) -> Result<String> {
    let page = connection.look("/billing", cookie).await?;
    let (mut sum, text) = (page.length, page.text);
    let mut parts = vec![format!("page with its chart {}", kilobytes(page.length))];
    let mut rest = text.as_str();
    while let Some(at) = rest.find("=\"/assets/") {
        rest = &rest[at + 2..];
        let path = rest.split('"').next().unwrap_or_default();
        let asset = connection.look(path, cookie).await?;
        ensure!(asset.status == 200, "{path} answered {}", asset.status);
        sum += asset.length;
        parts.push(format!("{} {}", path.trim_start_matches("/assets/"), kilobytes(asset.length)));
    }
    Ok(format!(
        "\nTransferred for the Billing page, with headers: {} ({}).\n",
        kilobytes(sum),
        parts.join(", ")
    ))
}

fn kilobytes(bytes: usize) -> String {
    let tenths = (bytes * 10).div_ceil(1_024);
    format!("{}.{} KB", tenths / 10, tenths % 10)
}

fn facts(options: &Options, entries: u64) -> String {
    format!(
        "`cargo run --release -p bench -- pages --entries {} --workspaces {}`\n\n\
         {}. Filled as `growth` fills it, over {DAYS} days; the large workspace has {} entries, the empty one none. Each page \
         was asked for {ASKED} times over one connection, as an admin, one after the other; the time is of the whole request.\n\n\
         | page | p50 ms | p99 ms | slowest ms | sent | empty workspace, p99 ms | sent |\n|---|---|---|---|---|---|---|\n",
        options.entries,
        options.workspaces,
        machine(),
        thousands(entries),
    )
}

#[cfg(test)]
mod tests {
    use super::kilobytes;

    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!(
            (kilobytes(1_024), kilobytes(1_025), kilobytes(0)),
            ("1.0 KB".into(), "1.1 KB".into(), "0.0 KB".into())
        );
    }
}
