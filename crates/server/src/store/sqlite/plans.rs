//! What SQLite is told about the sizes of tables: without it, a scan of all of a workspace's work looks as good to it as a partial
//! index that finds one row, and the work of a campaign grows with the square of its leads.
//!
//! The figures are rough and never measured anew: plans stay as they are tested. A column of `sqlite_stat1` has the rows of an
//! index, then how many of them share its first column, its first two, and so on.

/// Run once, behind the schema.
pub(super) const STATISTICS: &str = "analyze sqlite_schema;
    insert into sqlite_stat1 (tbl, idx, stat) values
      ('work', 'work', '1000000 100000 1000 1'),
      ('work', 'work_due', '1000000 100000 1000 10'),
      ('work', 'work_place', '1000000 100000 1000 100 50 10'),
      ('work', 'work_lead', '1000000 100000 2'),
      ('work', 'work_hold', '1000 100 1'),
      ('work', 'work_slot', '100 20 10'),
      ('work', 'work_cost', '1000 100 10 1'),
      ('work', 'work_person', '1000 100 10 1'),
      ('job', 'job', '10000 100 1'),
      ('job', 'job_running', '1000 100'),
      ('job', 'job_turn', '1000 2 1');
    analyze sqlite_schema;";
