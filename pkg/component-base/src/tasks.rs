//! Named tasks under one stop token: nothing runs unowned, and nothing ends early unnoticed.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::http::BoxError;

/// Why a group of tasks did not end as it should.
#[derive(Debug, Error)]
pub enum TaskError {
    /// The task returned without having been told to stop.
    #[error("task {name:?} ended early")]
    EndedEarly { name: &'static str },
    /// The task returned an error.
    #[error("task {name:?} failed: {cause}")]
    Failed { name: &'static str, cause: BoxError },
    /// The task panicked; the panic's message is in the log.
    #[error("task {name:?} panicked")]
    Panicked { name: &'static str },
    /// Tasks that were still running when the grace period was over. They were aborted.
    #[error("tasks {names:?} did not stop within {grace:?}")]
    Stuck { names: Vec<&'static str>, grace: Duration },
}

/// What a task may return: nothing, or a result.
pub trait Outcome {
    /// The same as a result with an erased error.
    fn into_result(self) -> Result<(), BoxError>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> Outcome for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// A group of tasks that live and stop together.
///
/// Every task has a name and gets a token that fires when the group is to stop. A task that ends before that, or
/// fails at any time, stops the group: [`Tasks::drain`] then returns the reason, and the process goes down with it.
/// Dropping the group aborts what still runs.
#[derive(Debug)]
pub struct Tasks {
    stop: CancellationToken,
    running: JoinSet<Result<(), BoxError>>,
    known: HashMap<Id, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    name: &'static str,
    may_finish: bool,
}

impl Tasks {
    /// An empty group that stops when `stop` fires. Stopping the group does not fire `stop` itself.
    pub fn under(stop: CancellationToken) -> Tasks {
        Tasks { stop: stop.child_token(), running: JoinSet::new(), known: HashMap::new() }
    }

    /// The group's own token: fires with the one it was made under, and when a task ends early.
    pub fn token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts a task that must run until it is told to stop. Panics outside of a tokio runtime.
    pub fn spawn<F, R>(&mut self, name: &'static str, start: F)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output: Outcome> + Send + 'static,
    {
        self.start(Known { name, may_finish: false }, start);
    }

    /// Starts a task that may come to an end by itself; only its error takes the group down.
    pub fn spawn_once<F, R>(&mut self, name: &'static str, start: F)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output: Outcome> + Send + 'static,
    {
        self.start(Known { name, may_finish: true }, start);
    }

    fn start<F, R>(&mut self, known: Known, start: F)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output: Outcome> + Send + 'static,
    {
        let work = start(self.stop.clone());
        let task = self.running.spawn(async move { work.await.into_result() });
        self.known.insert(task.id(), known);
    }

    /// Waits until the group is to stop or a task ends early, then gives all tasks `grace` to finish.
    ///
    /// Returns the first thing that went wrong. Tasks that outlive the grace period are aborted and reported.
    pub async fn drain(mut self, grace: Duration) -> Result<(), TaskError> {
        let mut first_error = None;
        while !self.stop.is_cancelled() {
            // Both arms are cancel-safe: a token can be waited for again, and a join set loses nothing.
            tokio::select! {
                () = self.stop.cancelled() => {}
                ended = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    if let Some(ended) = ended
                        && let Err(error) = self.judge(ended)
                        // The token may have fired since, and the task been the first to heed it.
                        && !(self.stop.is_cancelled() && matches!(error, TaskError::EndedEarly { .. }))
                    {
                        tracing::error!(err = %error, "Task took the process down");
                        first_error = Some(error);
                        self.stop.cancel();
                    }
                }
            }
        }
        let drained = tokio::time::timeout(grace, async {
            while let Some(ended) = self.running.join_next_with_id().await {
                // From here on, to have ended is what was asked for.
                if let Err(error) = self.judge(ended)
                    && !matches!(error, TaskError::EndedEarly { .. })
                {
                    tracing::error!(err = %error, "Task failed while it was stopping");
                    first_error.get_or_insert(error);
                }
            }
        })
        .await;
        if drained.is_err() {
            let mut names: Vec<&'static str> = self.known.values().map(|known| known.name).collect();
            names.sort_unstable();
            self.running.abort_all();
            first_error.get_or_insert(TaskError::Stuck { names, grace });
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Forgets a task that ended and says whether it was allowed to end so.
    fn judge(&mut self, ended: Result<(Id, Result<(), BoxError>), JoinError>) -> Result<(), TaskError> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let known = self.known.remove(&id).expect("every task was entered when it was spawned");
        match ended {
            Ok((_, Ok(()))) if known.may_finish => Ok(()),
            Ok((_, Ok(()))) => Err(TaskError::EndedEarly { name: known.name }),
            Ok((_, Err(cause))) => Err(TaskError::Failed { name: known.name, cause }),
            Err(_) => Err(TaskError::Panicked { name: known.name }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn all_tasks_stop_when_told() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::under(stop.clone());
        tasks.spawn("one", |stop| async move { stop.cancelled().await });
        tasks.spawn("two", |stop| async move {
            stop.cancelled().await;
            Ok::<(), BoxError>(())
        });
        tasks.spawn_once("three", |_| async {});
        stop.cancel();
        tasks.drain(GRACE).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_ends_early_stops_the_others() {
        let outer = CancellationToken::new();
        let mut tasks = Tasks::under(outer.clone());
        tasks.spawn("patient", |stop| async move { stop.cancelled().await });
        tasks.spawn("hasty", |_| async {});
        let error = tasks.drain(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "task \"hasty\" ended early");
        assert!(!outer.is_cancelled());
    }

    #[tokio::test]
    async fn a_failure_names_task_and_cause() {
        let mut tasks = Tasks::under(CancellationToken::new());
        tasks.spawn("serving", |_| async { Err::<(), BoxError>("port taken".into()) });
        assert_eq!(tasks.drain(GRACE).await.unwrap_err().to_string(), "task \"serving\" failed: port taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_task_is_aborted_and_named() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::under(stop.clone());
        tasks.spawn("stuck", |_| std::future::pending::<()>());
        stop.cancel();
        assert_eq!(tasks.drain(GRACE).await.unwrap_err().to_string(), "tasks [\"stuck\"] did not stop within 5s");
    }
}
