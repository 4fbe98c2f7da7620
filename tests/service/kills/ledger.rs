//! The ledger: what was acknowledged about users, and what unanswered requests may have changed.

use std::fmt::Debug;

use reqwest::StatusCode;
use uuid::Uuid;

use crate::support::Reply;

/// What the client of a write knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: it took effect, and must not be lost.
    Acknowledged,
    /// No answer, or 5xx: it may have taken effect, or may still do so.
    Unknown,
}

impl Outcome {
    /// # Panics
    /// On any other status: clients send only valid requests.
    pub fn of(what: &str, reply: &Result<Reply, reqwest::Error>) -> Self {
        match reply {
            Ok(reply) if reply.status.is_success() => Self::Acknowledged,
            Ok(reply) if reply.status.is_server_error() => Self::Unknown,
            Ok(reply) => panic!("{what} was refused: {} {}", reply.status, reply.text),
            Err(_) => Self::Unknown,
        }
    }
}

/// A field of a user: its last acknowledged value, and the values that it may have instead.
///
/// Each write of a row names the version that it replaces. So at most one of the unanswered writes takes effect, and none
/// after another write of the row was acknowledged.
#[derive(Debug, Clone)]
pub struct Recorded<T> {
    acknowledged: T,
    unknown: Vec<T>,
    /// Whether a later write of the row was acknowledged, so that unanswered writes can no longer take effect.
    is_sealed: bool,
}

impl<T: Clone + PartialEq + Debug> Recorded<T> {
    pub fn new(acknowledged: T) -> Self {
        Self { acknowledged, unknown: Vec::new(), is_sealed: false }
    }

    /// The last acknowledged value.
    pub fn get(&self) -> &T {
        &self.acknowledged
    }

    /// Whether it can have no other value.
    pub fn is_certain(&self) -> bool {
        self.unknown.is_empty()
    }

    /// The values of unanswered writes.
    pub fn unknown(&self) -> &[T] {
        &self.unknown
    }

    pub fn write(&mut self, value: T, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged => *self = Self::new(value),
            Outcome::Unknown => {
                self.unknown.push(value);
                self.is_sealed = false;
            }
        }
    }

    /// Records that another write of the row was acknowledged.
    pub fn seal(&mut self) {
        self.is_sealed = true;
    }

    /// Compares with a value that was read; returns whether an unanswered write took effect.
    ///
    /// # Errors
    /// If the value can be none of those.
    pub fn compare(&mut self, what: &str, seen: &T) -> Result<bool, String> {
        if *seen == self.acknowledged {
            if self.is_sealed {
                self.unknown.clear();
            }
            return Ok(false);
        }
        if !self.unknown.contains(seen) {
            let Self { acknowledged, unknown, .. } = self;
            return Err(format!("{what} is {seen:?}; acknowledged was {acknowledged:?}, unanswered {unknown:?}"));
        }
        *self = Self::new(seen.clone());
        Ok(true)
    }
}

/// The state of a session whose token a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Live,
    /// A request that ends it was not answered.
    Unknown,
    Ended,
}

#[derive(Debug, Clone)]
pub struct Session {
    pub token: String,
    pub life: Life,
}

impl Session {
    /// Compares with the status of a request with its token; returns whether an unanswered end took effect.
    ///
    /// # Errors
    /// If the session is alive after its acknowledged end, or has ended without a request to end it.
    pub fn compare(&mut self, status: StatusCode) -> Result<bool, String> {
        match (self.life, status.as_u16()) {
            (Life::Live | Life::Unknown, 200) | (Life::Ended, 401) => Ok(false),
            (Life::Unknown, 401) => {
                self.life = Life::Ended;
                Ok(true)
            }
            (life, status) => Err(format!("a session that should be {life:?} is answered with {status}")),
        }
    }
}

/// Everything that is recorded of a user.
#[derive(Debug, Clone)]
pub struct Account {
    /// Unknown while its registration was not answered.
    pub user_id: Option<String>,
    pub idempotency_key: String,
    pub exists: Recorded<bool>,
    pub login_name: Recorded<String>,
    pub password: Recorded<String>,
    pub former_password: Option<String>,
    pub profile_name: Recorded<String>,
    pub note: Recorded<String>,
    pub is_admin: Recorded<bool>,
    pub is_suspended: Recorded<bool>,
    pub sessions: Vec<Session>,
    /// How many sessions were made since all were ended, including those whose token did not arrive.
    pub logins: usize,
    /// Whether there were requests about it since the last check.
    pub is_touched: bool,
}

impl Account {
    /// A user that is being registered.
    pub fn new(login_name: String) -> Self {
        let password = format!("pass phrase {}", Uuid::new_v4().simple());
        Self {
            user_id: None,
            idempotency_key: Uuid::new_v4().to_string(),
            exists: Recorded::new(false),
            login_name: Recorded::new(login_name),
            password: Recorded::new(password),
            former_password: None,
            profile_name: Recorded::new("Ada".to_owned()),
            note: Recorded::new(String::new()),
            is_admin: Recorded::new(false),
            is_suspended: Recorded::new(false),
            sessions: Vec::new(),
            logins: 0,
            is_touched: true,
        }
    }

    /// Records that a write of the row was acknowledged.
    pub fn seal(&mut self) {
        for text in [&mut self.login_name, &mut self.password, &mut self.profile_name, &mut self.note] {
            text.seal();
        }
        for flag in [&mut self.exists, &mut self.is_admin, &mut self.is_suspended] {
            flag.seal();
        }
    }

    /// Records that all sessions except one with this token were ended, or may have been.
    pub fn end_sessions(&mut self, outcome: Outcome, except: Option<&str>) {
        for session in &mut self.sessions {
            match (outcome, session.life, except == Some(&session.token)) {
                (_, Life::Ended, _) | (Outcome::Acknowledged, _, true) => {}
                (Outcome::Acknowledged, _, false) => session.life = Life::Ended,
                (Outcome::Unknown, ..) => session.life = Life::Unknown,
            }
        }
        if outcome == Outcome::Acknowledged {
            self.logins = usize::from(except.is_some());
        }
    }

    /// The token of a session that must be alive.
    pub fn token(&self) -> Option<&str> {
        self.sessions.iter().find(|session| session.life == Life::Live).map(|session| session.token.as_str())
    }
}

/// The numbers of writes by their outcome.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub acknowledged: u64,
    pub unknown: u64,
    /// How many of the unknown took effect.
    pub effective: u64,
    pub checked: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.effective += other.effective;
        self.checked += other.checked;
    }
}
