//! Scrip: credits and billing for products that spend money on their customers' behalf.
//!
//! Reading order: `config`, `clock`, `store`, `app`, `api`, `pages`, `runner`, `scheduler`, `delivery`, `audit`.

pub mod calendar;
pub mod clock;
pub mod id;
pub mod store;
