//! What campaigns and everything else keep about the ledger: sends, jobs, and rows in the wrong place.

use std::collections::BTreeMap;

use super::book::{Book, mark};
use super::reader::{Read, Reader, Row};
use super::tables::Tables;
use super::{EPOCH, Findings, JOB, ONE_SEND, PERIOD, PLACE, WORKSPACE};

/// Where the positions of steps begin in `work.position`.
const FIRST_STEP: i64 = 1_000;
const SENT: i64 = 0;

pub const STEPS: &str = "select workspace, job, step, lead, outcome, hold from step_result
    where {here} and hold is not null order by workspace, job, step, lead";
pub const PIECES: &str = "select workspace, job, lead, position, hold from work
    where {here} and hold is not null order by workspace, job, lead";
pub const JOBS: &str =
    "select workspace, id, credits_used, credits_held from job where {here} order by workspace, id";

/// The zones that a workspace was in before: statements of months follow from them, and from periods.
pub const ZONES: &str = "select workspace, until, time_zone from zone where {here} order by workspace, until";

pub fn read_zone(row: &Row<'_>) -> Read<(i64, String)> {
    Ok((row.get(1)?, row.get(2)?))
}

/// A step that a hold paid for, but for its job.
pub struct Step {
    step: i64,
    lead: i64,
    outcome: i64,
    hold: i64,
}

pub fn read_step(row: &Row<'_>) -> Read<(i64, Step)> {
    let (step, lead) = (row.get(2)?, row.get(3)?);
    Ok((row.get(1)?, Step { step, lead, outcome: row.get(4)?, hold: row.get(5)? }))
}

/// A piece that is at work now, but for its job.
pub struct Piece {
    lead: i64,
    position: i64,
    hold: i64,
}

pub fn read_piece(row: &Row<'_>) -> Read<(i64, Piece)> {
    Ok((row.get(1)?, Piece { lead: row.get(2)?, position: row.get(3)?, hold: row.get(4)? }))
}

pub fn read_job(row: &Row<'_>) -> Read<(i64, (i64, i64))> {
    Ok((row.get(1)?, (row.get(2)?, row.get(3)?)))
}

/// Every send that went out belongs to one step of one lead, and no step of a lead has two.
pub fn sends(tables: &mut Tables<'_>, book: &mut Book, findings: &mut Findings) -> Read<()> {
    // Only what is at work now is kept: job, step and lead, with its hold and the one that paid for the same step before.
    let mut pieces = BTreeMap::new();
    while let Some((job, Piece { lead, position, hold })) = tables.pieces.next(book.workspace)? {
        pieces.insert((job, position.saturating_sub(FIRST_STEP), lead), (hold, None));
    }
    while let Some((job, Step { step, lead, outcome, hold })) = tables.steps.next(book.workspace)? {
        let known = book.mark(hold);
        findings.check(known & (mark::OPENS | mark::STEP) == mark::OPENS, ONE_SEND, || {
            format!("step {step} of lead {lead} in job {job} is paid by hold {hold}, which is no hold or another step's")
        });
        findings.check(outcome != SENT || known & mark::OUT != 0, EPOCH, || {
            format!("step {step} of lead {lead} in job {job} was sent without a dispatch of hold {hold}")
        });
        if known != 0 {
            book.set(hold, mark::STEP);
        }
        if let Some((_, first)) = pieces.get_mut(&(job, step, lead)) {
            *first = Some(hold);
        }
    }
    at_work(&pieces, book, findings);
    for hold in book.marked(mark::SEND | mark::OUT, mark::STEP) {
        findings.broken(ONE_SEND, format!("the send of hold {hold} went out and belongs to no step"));
    }
    Ok(())
}

/// What is at work now: its hold must not be a second send of a step that has one.
fn at_work(pieces: &BTreeMap<(i64, i64, i64), (i64, Option<i64>)>, book: &mut Book, findings: &mut Findings) {
    for ((job, step, lead), (hold, first)) in pieces {
        let (hold, known) = (*hold, book.mark(*hold));
        findings.check(known & mark::OPENS != 0, ONE_SEND, || {
            format!("lead {lead} in job {job} waits for hold {hold}, which does not exist")
        });
        let out = |hold: i64| book.mark(hold) & (mark::SEND | mark::OUT) == mark::SEND | mark::OUT;
        let twice = first.is_some_and(|first| first != hold && out(first) && out(hold));
        findings.check(!twice, ONE_SEND, || {
            format!("lead {lead} in job {job} has two sends at step {step}: {first:?} and {hold}")
        });
        if known != 0 {
            book.set(hold, mark::STEP);
        }
    }
}

/// What jobs say they used and hold, where their holds carry their names: charges in time, and at most what came late on top.
pub fn jobs(tables: &mut Tables<'_>, book: &Book, findings: &mut Findings) -> Read<()> {
    if book.life.nameless {
        return Ok(());
    }
    while let Some((id, (used, held))) = tables.jobs.next(book.workspace)? {
        let sums = book.life.jobs.get(&id).copied().unwrap_or_default();
        let may = sums.charged..=sums.charged + sums.late;
        findings.check(may.contains(&i128::from(used)), JOB, || {
            format!("job {id} says it used {used}, its holds charged {may:?}")
        });
        findings.check(i128::from(held) == sums.held, JOB, || {
            format!("job {id} says {held} are held, its open holds come to {}", sums.held)
        });
    }
    Ok(())
}

/// The zones that a workspace was in before, each until a moment of its life.
pub fn zones(tables: &mut Tables<'_>, book: &Book, created_at: i64, findings: &mut Findings) -> Read<()> {
    while let Some((until, zone)) = tables.zones.next(book.workspace)? {
        let known = jiff::tz::TimeZone::get(&zone).is_ok();
        findings.check(until >= created_at && known, PERIOD, || {
            format!("the workspace was in zone {zone} until {until}, and was made at {created_at}")
        });
    }
    Ok(())
}

/// A table with a column that says whose its rows are, or where they lie.
pub struct Named {
    table: String,
    column: String,
    /// Whether the primary key's rows can be walked from one workspace to the next.
    sorted: bool,
}

/// All such tables, whatever tables there are.
pub fn named(reader: Reader<'_>) -> Read<Vec<Named>> {
    let sql = match reader {
        Reader::Sqlite(_) => {
            "select t.name, c.name, exists (select 1 from pragma_index_list(t.name) l, pragma_index_xinfo(l.name) x
                 where l.partial = 0 and x.seqno = 0 and x.name = c.name) or c.pk = 1
             from sqlite_master t, pragma_table_info(t.name) c
             where t.type = 'table' and c.name in ('workspace', 'owner', 'partition')"
        }
        Reader::Postgres(_) => {
            "select cast(t.relname as text), cast(c.attname as text), cast(count(i.indkey) as bigint)
             from pg_class t join pg_attribute c on c.attrelid = t.oid
             left join pg_index i on i.indrelid = t.oid and i.indisprimary and i.indkey[1] = c.attnum
             where t.relnamespace = cast(current_schema() as regnamespace) and t.relkind in ('r', 'p')
             and c.attname in ('workspace', 'owner', 'partition') and not c.attisdropped
             group by t.relname, c.attname"
        }
    };
    let (mut statement, mut tables) = (reader.prepare(sql, 0)?, Vec::new());
    let mut rows = statement.rows(&[])?;
    while let Some(row) = rows.next()? {
        tables.push(Named { table: row.get(0)?, column: row.get(1)?, sorted: row.get::<i64>(2)? != 0 });
    }
    Ok(tables)
}

/// Rows of a partition that name a workspace which is not in it, or which belongs in another.
pub fn strays(
    reader: Reader<'_>,
    tables: &[Named],
    (partition, partitions): (i64, i64),
    workspaces: &[i64],
    findings: &mut Findings,
) -> Read<()> {
    for Named { table, sorted, .. } in tables.iter().filter(|named| named.column == "workspace") {
        for workspace in reader.all::<i64>(&owners(table, *sorted), partition)? {
            findings.workspace = workspace;
            findings.check(workspace.rem_euclid(partitions) == partition, PLACE, || {
                format!("rows of table {table} are in partition {partition} of {partitions}")
            });
            findings.check(workspaces.binary_search(&workspace).is_ok(), WORKSPACE, || {
                format!("rows of table {table} belong to a workspace that does not exist")
            });
        }
    }
    Ok(())
}

/// The workspaces that a table names. Where the key begins with the workspace, from one to the next without reading what
/// is between.
fn owners(table: &str, sorted: bool) -> String {
    if !sorted {
        return format!(
            "select distinct workspace from \"{table}\" where {{here}} and workspace is not null"
        );
    }
    format!(
        "with recursive owner(workspace) as (
             select min(workspace) from \"{table}\" where {{here}}
             union all
             select (select min(t.workspace) from \"{table}\" t where {{here}} and t.workspace > owner.workspace)
             from owner where owner.workspace is not null)
         select workspace from owner where workspace is not null"
    )
}

/// Rows of no partition, and rows outside all partitions that name a workspace which does not exist.
pub fn outside(
    reader: Reader<'_>,
    tables: &[Named],
    partitions: i64,
    workspaces: &[i64],
    findings: &mut Findings,
) -> Read<()> {
    findings.workspace = 0;
    for Named { table, .. } in tables.iter().filter(|named| named.column == "partition") {
        let ends = format!(
            "select min(partition) from \"{table}\" union all select max(partition) from \"{table}\""
        );
        let ends = reader.all::<Option<i64>>(&ends, 0)?;
        let inside = ends.iter().flatten().all(|end| (0..partitions).contains(end));
        findings
            .check(inside, PLACE, || format!("rows of table {table} are in no partition of {partitions}"));
    }
    for Named { table, .. } in tables.iter().filter(|named| named.column == "owner") {
        let owners = format!("select distinct owner from \"{table}\" where owner is not null");
        for owner in reader.all::<i64>(&owners, 0)? {
            findings.workspace = owner;
            findings.check(workspaces.binary_search(&owner).is_ok(), WORKSPACE, || {
                format!("rows of table {table} belong to a workspace that does not exist")
            });
        }
    }
    Ok(())
}
