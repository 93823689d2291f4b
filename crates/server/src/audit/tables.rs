//! The tables of a partition, each read once from its beginning to its end, all in step.

use super::reader::{Cursor, Read, Reader, Statement};
use super::{around, money, pages, rows, usage};

/// Statements and their cursors, one for each table.
macro_rules! tables {
    ($($name:ident: $row:ty = $module:ident::$sql:ident, $read:expr;)*) => {
        /// What the cursors come from.
        pub struct Statements<'a> {
            $($name: Statement<'a>,)*
        }

        /// Where the audit is in each table.
        pub struct Tables<'s> {
            $(pub $name: Cursor<'s, $row>,)*
        }

        impl<'a> Statements<'a> {
            pub fn prepare(reader: Reader<'a>, partition: i64) -> Read<Statements<'a>> {
                Ok(Statements { $($name: reader.prepare($module::$sql, partition)?,)* })
            }

            pub fn open(&mut self) -> Read<Tables<'_>> {
                Ok(Tables { $($name: Cursor::new(self.$name.rows(&[])?, $read)?,)* })
            }
        }
    };
}

tables! {
    workspaces: money::Plan = money::WORKSPACES, money::read_plan;
    accounts: money::AccountRow = money::ACCOUNTS, money::read_account;
    pages: pages::PageRow = pages::PAGES, pages::read_page;
    grants: rows::GrantRow = rows::GRANTS, rows::read_grant;
    holds: rows::HoldRow = rows::HOLDS, rows::read_hold;
    usage: usage::Stored = usage::ROWS, usage::read;
    payments: money::Payment = money::PAYMENTS, money::read_payment;
    refunds: [i64; 3] = money::REFUNDS, money::read_refund;
    zones: String = around::ZONES, around::read_zone;
    periods: money::Period = money::PERIODS, money::read_period;
    steps: around::Step = around::STEPS, around::read_step;
    pieces: around::Piece = around::PIECES, around::read_piece;
    jobs: (i64, i64) = around::JOBS, around::read_job;
}
