//! What campaigns and everything else keep about the ledger: sends, jobs, and rows without a workspace.

use rusqlite::Connection;

use super::book::{Book, mark};
use super::{EPOCH, Findings, JOB, ONE_SEND, WORKSPACE};

/// Where the positions of steps begin in `work.position`.
const STEPS: i64 = 1_000;
const SENT: i64 = 0;

/// Every send that went out belongs to one step of one lead, and no step of a lead has two.
pub fn sends(connection: &Connection, book: &mut Book, findings: &mut Findings) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "select job, step, lead, outcome, hold from step_result where workspace = ?1 and hold is not null",
    )?;
    let mut steps = statement.query([book.workspace])?;
    while let Some(row) = steps.next()? {
        let (job, step, lead, outcome, hold): (i64, i64, i64, i64, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
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
    }
    at_work(connection, book, findings)?;
    for hold in book.marked(mark::SEND | mark::OUT, mark::STEP) {
        findings.broken(ONE_SEND, format!("the send of hold {hold} went out and belongs to no step"));
    }
    Ok(())
}

/// Pieces that are at work now: their hold must not be a second send of a step that has one.
fn at_work(connection: &Connection, book: &mut Book, findings: &mut Findings) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "select w.job, w.lead, w.position, w.hold, s.hold from work w left join step_result s on s.workspace = w.workspace
           and s.job = w.job and s.step = w.position - ?2 and s.lead = w.lead
         where w.workspace = ?1 and w.hold is not null",
    )?;
    let mut pieces = statement.query([book.workspace, STEPS])?;
    while let Some(row) = pieces.next()? {
        let (job, lead, position, hold): (i64, i64, i64, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let step: Option<i64> = row.get(4)?;
        let known = book.mark(hold);
        findings.check(known & mark::OPENS != 0, ONE_SEND, || {
            format!("lead {lead} in job {job} waits for hold {hold}, which does not exist")
        });
        let out = |hold: i64| book.mark(hold) & (mark::SEND | mark::OUT) == mark::SEND | mark::OUT;
        let twice = step.is_some_and(|first| first != hold && out(first) && out(hold));
        findings.check(!twice, ONE_SEND, || {
            format!("lead {lead} in job {job} has two sends at position {position}: {step:?} and {hold}")
        });
        if known != 0 {
            book.set(hold, mark::STEP);
        }
    }
    Ok(())
}

/// What jobs say they used and hold, where their holds carry their names: charges in time, and at most what came late on top.
pub fn jobs(connection: &Connection, book: &Book, findings: &mut Findings) -> rusqlite::Result<()> {
    if book.life.nameless {
        return Ok(());
    }
    let mut statement =
        connection.prepare_cached("select id, credits_used, credits_held from job where workspace = ?1")?;
    let mut jobs = statement.query([book.workspace])?;
    while let Some(row) = jobs.next()? {
        let (id, used, held): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
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

/// Rows that name a workspace which does not exist, in whatever tables there are.
pub fn strays(connection: &Connection, workspaces: &[i64], findings: &mut Findings) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "select t.name, c.name, exists (select 1 from pragma_index_list(t.name) l, pragma_index_xinfo(l.name) x
             where l.partial = 0 and x.seqno = 0 and x.name = c.name)
         from sqlite_master t, pragma_table_info(t.name) c
         where t.type = 'table' and t.name <> 'workspace' and c.name in ('workspace', 'owner')",
    )?;
    let tables = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for table in tables {
        let (table, column, sorted): (String, String, bool) = table?;
        for workspace in owners(connection, &table, &column, sorted)? {
            if workspaces.binary_search(&workspace).is_err() {
                findings.workspace = workspace;
                findings.broken(
                    WORKSPACE,
                    format!("rows of table {table} belong to a workspace that does not exist"),
                );
            }
        }
    }
    Ok(())
}

/// The workspaces that a table names. Where an index begins with the workspace, from one to the next without reading what
/// is between.
fn owners(connection: &Connection, table: &str, column: &str, sorted: bool) -> rusqlite::Result<Vec<i64>> {
    if !sorted {
        let all = format!("select distinct {column} from \"{table}\" where {column} is not null");
        return connection.prepare(&all)?.query_map([], |row| row.get(0))?.collect();
    }
    let least = format!("select min({column}) from \"{table}\"");
    let mut next = connection.prepare(&format!("{least} where {column} > ?1"))?;
    let (mut owners, mut owner): (Vec<i64>, Option<i64>) =
        (Vec::new(), connection.query_row(&least, [], |row| row.get(0))?);
    while let Some(found) = owner {
        owners.push(found);
        owner = next.query_row([found], |row| row.get(0))?;
    }
    Ok(owners)
}
