//! Scrip measured and killed from outside, through its commands and its HTTP API only.
//!
//! `charges` races it against hand-written PostgreSQL on the same machine in the same minutes; `growth` looks at it with millions
//! of entries, `pages` at what people then see, and `live` at thousands of open streams; `renewals` lets many plans renew in one
//! second; `kill` and `kill-campaigns` end it with
//! SIGKILL at random instants and compare what it says afterwards with what it had acknowledged; `campaigns` looks at campaigns by
//! the thousand. Nothing here shares code with the server, so neither can inherit the other's mistakes.

mod campaigns;
mod charges;
mod fakes;
mod growth;
mod http;
mod judgement;
mod kill;
mod lane;
mod live;
mod load;
mod options;
mod outreach;
mod pages;
mod postgres;
mod renewals;
mod results;
mod rng;
mod server;
mod smtp;
mod stats;

use anyhow::{Result, bail};
use options::Options;

fn main() -> Result<()> {
    // A stream is an open file, here and in the server, which raises its own limit.
    rlimit::increase_nofile_limit(u64::MAX)?;
    if std::env::args().any(|word| word == "--help") {
        println!("{}", options::USAGE);
        return Ok(());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let scratch = options.make_scratch()?;
    let outcome = runtime.block_on(async {
        match options.command.as_str() {
            "charges" => charges::run(&options, &scratch).await,
            "live" => live::run(&options, &scratch).await,
            "pages" => pages::run(&options, &scratch).await,
            "growth" => growth::run(&options, &scratch).await,
            "renewals" => renewals::run(&options, &scratch).await,
            "kill" => kill::run(&options, &scratch).await,
            "kill-campaigns" => campaigns::run(&options, &scratch).await,
            "campaigns" => outreach::run(&options, &scratch).await,
            _ => bail!("{}", options::USAGE),
        }
    });
    match &outcome {
        Ok(()) => std::fs::remove_dir_all(&scratch)?,
        Err(_) => eprintln!("the data and the logs of this run are kept in {}", scratch.display()),
    }
    outcome
}
