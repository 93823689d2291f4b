//! The server from outside and from inside: over HTTP and through its store, with a manual clock and a database of its own.

mod account;
mod api_keys;
mod audit;
mod billing;
mod budgets;
mod builder;
mod calendar;
mod changes;
mod chosen;
mod cluster;
mod console;
mod contract;
mod copies;
mod crash;
mod disk;
mod embed;
mod health;
mod http;
mod imports;
mod lead;
mod mailbox;
mod nodes;
mod notice_mail;
mod outage;
mod pages;
mod passwords;
mod paying;
mod payments;
mod people;
mod person;
mod pieces;
mod plans;
mod proxy;
mod review;
mod runner;
mod sample;
mod sign_on;
mod socket;
mod spread;
mod start;
mod store;
mod stripe;
mod takeover;
mod temp;
mod tenants;
mod traced;
mod workers;
mod world;
mod wrong;

#[path = "../../../billing/tests/it/chance.rs"]
mod chance;
mod tidy;
mod webhooks;
#[path = "../../../billing/tests/it/witness.rs"]
mod witness;
