//! A service that can be killed at any step of what it does, without its knowing: each step waits for a lock that the test
//! holds in the shard's database, and the next step's lock is taken before the former is let go.

use futures_util::future::join_all;
use rustix::process::{Pid, Signal};
use sqlx::{Connection, PgConnection};

use super::stage::Stage;
use crate::{
    servers::signal_to,
    service::harness::{Request, Service, until},
};

/// A write that can be held up, by the shard that it goes to.
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

    /// Only writes wait for these, and only as they run: whatever is read or prepared passes.
    fn lock(self) -> &'static str {
        match self {
            Self::Insert(_) => "SELECT pg_advisory_xact_lock(6005235)",
            Self::User(_) => "SELECT FROM users FOR UPDATE",
            Self::Claim(_) => "SELECT FROM login_names FOR UPDATE",
        }
    }
}

/// What becomes of the statement that waited when its instance was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It never happens.
    Lost,
    /// It happens although nobody hears of it.
    Done,
}

pub const FATES: [Fate; 2] = [Fate::Lost, Fate::Done];

/// A lock on a step; let go when dropped.
pub struct Hold {
    shard: usize,
    backend: i32,
    _connection: PgConnection,
}

/// What a killed instance left waiting in a shard's database, and the lock that it waits for.
pub struct Orphan {
    shard: usize,
    backend: i32,
    holds: Vec<Hold>,
}

impl Stage {
    /// Kills an instance while it does `request`, when it waits at the last of these steps; each is one of several that the
    /// request may turn to. `None` if the request succeeded without coming there.
    pub async fn kill_at(&self, request: impl FnOnce(&Service) -> Request, steps: &[&[Step]]) -> Option<Orphan> {
        let mut doomed = self.instance().await;
        let mut holds = self.hold(steps[0]).await;
        let request = tokio::spawn(request(&doomed).try_send());
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
        doomed.kill().await;
        assert!(request.await.expect("no panic").is_err(), "the instance answered before it was killed");
        Some(Orphan { shard, backend, holds })
    }

    /// As [`Self::kill_at`], and then what it left meets its fate.
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

    /// Lets what was left meet its fate.
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

    /// The shard and the process that wait for one of the locks, once they do; `None` if `over` comes first.
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
        until("what was left has ended", async || self.psql(orphan.shard, &count) == "0").await;
    }

    /// Lets an orphan's lock go, while its process stands still until [`Self::wake`].
    pub fn let_sleep(&self, mut orphan: Orphan) -> Orphan {
        signal(&orphan, Signal::STOP);
        orphan.holds.clear();
        orphan
    }

    /// Lets what sleeps go on, to its end.
    pub async fn wake(&self, orphan: Orphan) {
        signal(&orphan, Signal::CONT);
        self.ended(&orphan).await;
    }
}

fn signal(orphan: &Orphan, signal: Signal) {
    signal_to(Pid::from_raw(orphan.backend).expect("a process"), signal);
}
