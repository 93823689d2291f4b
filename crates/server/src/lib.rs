//! Scrip: credits and billing for products that spend money on their customers' behalf.
//!
//! Reading order: `config`, `clock`, `store`, `app`, `api`, `pages`, `runner`, `scheduler`, `delivery`, `audit`.

pub mod api;
pub mod app;
pub mod audit;
pub mod breaker;
pub mod calendar;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod csv_cell;
pub mod delivery;
pub mod demo;
pub mod embed;
pub mod feed;
pub mod finance;
pub mod health;
pub mod hex;
pub mod id;
pub mod mailboxes;
pub mod margin;
pub mod money;
pub mod network;
pub mod oidc;
pub mod outreach;
pub mod pages;
pub mod password;
pub mod payments;
pub mod providers;
pub mod reconcile;
pub mod runner;
pub mod scheduler;
pub mod seal;
pub mod server;
pub mod store;
mod toml_reader;
mod trusted_keys;
pub mod webhooks;
