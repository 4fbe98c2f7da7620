//! Instances that are killed at any step of an operation. Each step waits for a lock that the test holds in the shard's
//! database; the lock of the next step is taken before the former is released.

use futures_util::future::join_all;
use rustix::process::{Pid, Signal};
use sqlx::{Connection, PgConnection};

use super::stage::Stage;
use crate::support::{Request, Service, process::signal, until};

/// A write that can be made to wait, with its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A row is added: a claim, a user, or a void row.
    Insert(usize),
    /// A user's row is changed or deleted.
    User(usize),
    /// A claim is confirmed, replaced or released.
    Claim(usize),
}

impl Step {
    fn shard(self) -> usize {
        let (Self::Insert(shard) | Self::User(shard) | Self::Claim(shard)) = self;
        shard
    }

    /// A statement whose lock delays the write, but no read and no preparation.
    fn lock(self) -> &'static str {
        match self {
            Self::Insert(_) => "SELECT pg_advisory_xact_lock(6005235)",
            Self::User(_) => "SELECT FROM users FOR UPDATE",
            Self::Claim(_) => "SELECT FROM login_names FOR UPDATE",
        }
    }
}

/// What happens to the statement that waited when its instance was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is never executed.
    Lost,
    /// It is committed after the instance has died.
    Committed,
}

pub const FATES: [Fate; 2] = [Fate::Lost, Fate::Committed];

/// A lock that delays a step; released when dropped.
pub struct Hold {
    shard: usize,
    backend: i32,
    _connection: PgConnection,
}

/// The waiting statement of a killed instance, and the lock that it waits for.
pub struct Orphan {
    shard: usize,
    backend: i32,
    holds: Vec<Hold>,
}

impl Stage {
    /// Kills an instance during a request, when that waits at the last of these steps. Each is a list of alternatives. Returns
    /// none if the request succeeds without reaching the step.
    pub async fn kill_at(&self, request: impl FnOnce(&Service) -> Request, steps: &[&[Step]]) -> Option<Orphan> {
        let mut instance = self.instance().await;
        let mut holds = self.hold(steps[0]).await;
        let request = tokio::spawn(request(&instance).try_send());
        let mut waiting = self.waiting(&holds, || request.is_finished()).await;
        for step in &steps[1..] {
            if waiting.is_some() {
                let next = self.hold(step).await;
                drop(std::mem::replace(&mut holds, next));
                waiting = self.waiting(&holds, || request.is_finished()).await;
            }
        }
        let Some((shard, backend)) = waiting else {
            let reply = request.await.expect("no panic").expect("an answer");
            assert_eq!(reply.status, 201, "{}", reply.text);
            return None;
        };
        instance.kill().await;
        assert!(request.await.expect("no panic").is_err(), "the instance answered before it was killed");
        Some(Orphan { shard, backend, holds })
    }

    /// As [`Self::kill_at`]; then the waiting statement is lost or committed.
    pub async fn crash_at(
        &self,
        request: impl FnOnce(&Service) -> Request,
        steps: &[&[Step]],
        fate: Fate,
    ) -> Option<()> {
        let orphan = self.kill_at(request, steps).await?;
        self.settle(orphan, fate).await;
        Some(())
    }

    /// Has a waiting statement lost or committed.
    pub async fn settle(&self, mut orphan: Orphan, fate: Fate) {
        if fate == Fate::Lost {
            self.psql(orphan.shard, &format!("SELECT pg_terminate_backend({})", orphan.backend));
            self.ended(&orphan).await;
        }
        orphan.holds.clear();
        self.ended(&orphan).await;
    }

    pub async fn hold(&self, steps: &[Step]) -> Vec<Hold> {
        let holds = steps.iter().map(async |step| {
            let url = self.url(step.shard());
            let mut connection = PgConnection::connect(&url).await.expect("a connection");
            for statement in ["BEGIN", step.lock()] {
                sqlx::raw_sql(statement).execute(&mut connection).await.expect("the lock");
            }
            let backend = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await;
            Hold { shard: step.shard(), backend: backend.expect("its process"), _connection: connection }
        });
        join_all(holds).await
    }

    /// Waits until a statement waits for one of the locks, or `over` holds; returns the shard and the process of the statement.
    pub async fn waiting(&self, holds: &[Hold], over: impl Fn() -> bool) -> Option<(usize, i32)> {
        let found = std::cell::Cell::new(None);
        until("the step waits", async || {
            for Hold { shard, backend, .. } in holds {
                let waiting = format!("SELECT pid FROM pg_stat_activity WHERE {backend} = ANY (pg_blocking_pids(pid))");
                if let Ok(waiting) = self.psql(*shard, &waiting).parse() {
                    found.set(Some((*shard, waiting)));
                }
            }
            found.get().is_some() || over()
        })
        .await;
        found.get()
    }

    async fn ended(&self, orphan: &Orphan) {
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {}", orphan.backend);
        until("the statement has ended", async || self.psql(orphan.shard, &count) == "0").await;
    }

    /// Releases the lock of a statement, and suspends its process until [`Self::resume_orphan`].
    pub fn suspend_orphan(&self, mut orphan: Orphan) -> Orphan {
        signal_orphan(&orphan, Signal::STOP);
        orphan.holds.clear();
        orphan
    }

    /// Resumes a suspended statement, and waits for its end.
    pub async fn resume_orphan(&self, orphan: Orphan) {
        signal_orphan(&orphan, Signal::CONT);
        self.ended(&orphan).await;
    }
}

fn signal_orphan(orphan: &Orphan, to_send: Signal) {
    signal(Pid::from_raw(orphan.backend).expect("a process"), to_send);
}
