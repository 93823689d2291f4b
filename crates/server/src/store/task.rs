//! Closures that the writer runs inside its transactions, with whom to tell.
//!
//! Owns when such a caller is answered. It does *not* know what is done.

use tokio::sync::oneshot;

use super::Error;
use super::batch::Batch;
use super::committer::Work;
use super::db::Tx;

/// A closure and its caller.
pub struct Task<T, F> {
    pub(super) work: F,
    pub(super) reply: Option<oneshot::Sender<Result<T, Error>>>,
    pub(super) result: Option<Result<T, Error>>,
}

impl<T: Send, F: Fn(&mut Batch<'_>) -> Result<T, Error> + Send> Work for Task<T, F> {
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        match (self.work)(batch) {
            Err(error) if !error.is_answer() => Err(error),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn finish(&mut self, committed: Result<(), Error>) {
        let result = match committed {
            Ok(()) => self.result.take().unwrap_or_else(|| Err(super::stopping())),
            Err(error) => Err(error),
        };
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(result);
        }
    }
}

/// What a read answers, and whom.
type Reading<T, F> = (F, oneshot::Sender<Result<T, Error>>);

/// A read of what is only in the journal, while the disk takes no writes: the rows are written, looked at and taken back.
pub struct Look<T, F> {
    pub(super) whose: Option<i64>,
    pub(super) work: Option<Reading<T, F>>,
}

impl<T: Send, F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send> Work for Look<T, F> {
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.tx.ready()?;
        if batch.is_empty()
            && let Some((work, reply)) = self.work.take()
        {
            batch.catch_up(self.whose)?;
            let _ = reply.send(work(&batch.tx));
        }
        // It must see nothing of others that may not be committed, and leave nothing: it ends every batch it is in.
        Err(Error::Unavailable("the disk took no write; what was asked was only looked at".to_owned()))
    }

    fn finish(&mut self, _: Result<(), Error>) {}
}
