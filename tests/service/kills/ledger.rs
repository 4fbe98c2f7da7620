//! What clients were told about users, and what their unanswered requests leave open.

use std::fmt::Debug;

use reqwest::StatusCode;
use uuid::Uuid;

use crate::service::harness::Reply;

/// What its client knows of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: it is in force, and must stay so.
    Acknowledged,
    /// No answer, or 5xx: it may be in force, or come into force yet.
    Unknown,
}

impl Outcome {
    /// # Panics
    /// On any other refusal: clients send nothing that the service may refuse for good.
    pub fn of(what: &str, reply: &Result<Reply, reqwest::Error>) -> Self {
        match reply {
            Ok(reply) if reply.status.is_success() => Self::Acknowledged,
            Ok(reply) if reply.status.is_server_error() => Self::Unknown,
            Ok(reply) => panic!("{what} was refused: {} {}", reply.status, reply.text),
            Err(_) => Self::Unknown,
        }
    }
}

/// A value of a user: what was acknowledged last, and what it may be instead.
///
/// Each write of a row names the version that it replaces. So of all writes that are open, one at most comes into force,
/// and none does after another write of the row was acknowledged.
#[derive(Debug, Clone)]
pub struct Recorded<T> {
    acknowledged: T,
    unknown: Vec<T>,
    /// Whether a later write of the row was acknowledged: what is not in force by now never will be.
    is_sealed: bool,
}

impl<T: Clone + PartialEq + Debug> Recorded<T> {
    pub fn new(acknowledged: T) -> Self {
        Self { acknowledged, unknown: Vec::new(), is_sealed: false }
    }

    /// What was acknowledged last.
    pub fn get(&self) -> &T {
        &self.acknowledged
    }

    /// Whether nothing else can be in force.
    pub fn is_certain(&self) -> bool {
        self.unknown.is_empty()
    }

    /// Values that unanswered writes may have left.
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

    /// Another write of the row was acknowledged.
    pub fn seal(&mut self) {
        self.is_sealed = true;
    }

    /// Compares with what the service says; returns whether an unanswered write turned out to be in force.
    ///
    /// # Errors
    /// What was said instead of what was acknowledged.
    pub fn compare(&mut self, what: &str, seen: &T) -> Result<bool, String> {
        if *seen == self.acknowledged {
            if self.is_sealed {
                self.unknown.clear();
            }
            return Ok(false);
        }
        if !self.unknown.contains(seen) {
            let Self { acknowledged, unknown, .. } = self;
            return Err(format!("{what} is {seen:?}; acknowledged was {acknowledged:?}, open are {unknown:?}"));
        }
        *self = Self::new(seen.clone());
        Ok(true)
    }
}

/// What may be true of a session whose token a client has.
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
    /// Compares with the status of a request with its token; returns whether an unanswered end turned out to be in force.
    ///
    /// # Errors
    /// If the session is alive after its end was acknowledged, or the other way round.
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

/// Everything that the client of a user was told of it.
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
    /// How many sessions were made since all were ended, those included whose token never arrived.
    pub logins: usize,
    /// Whether anything was asked about it since the last check.
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

    /// A write of the row was acknowledged.
    pub fn seal(&mut self) {
        for text in [&mut self.login_name, &mut self.password, &mut self.profile_name, &mut self.note] {
            text.seal();
        }
        for flag in [&mut self.exists, &mut self.is_admin, &mut self.is_suspended] {
            flag.seal();
        }
    }

    /// All sessions but the one with a token were ended, or may have been.
    pub fn end_sessions(&mut self, outcome: Outcome, but: Option<&str>) {
        for session in &mut self.sessions {
            match (outcome, session.life, but == Some(&session.token)) {
                (_, Life::Ended, _) | (Outcome::Acknowledged, _, true) => {}
                (Outcome::Acknowledged, _, false) => session.life = Life::Ended,
                (Outcome::Unknown, ..) => session.life = Life::Unknown,
            }
        }
        if outcome == Outcome::Acknowledged {
            self.logins = usize::from(but.is_some());
        }
    }

    /// The token of a session that must be alive.
    pub fn token(&self) -> Option<&str> {
        self.sessions.iter().find(|session| session.life == Life::Live).map(|session| session.token.as_str())
    }
}

/// How many writes became what.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub acknowledged: u64,
    pub unknown: u64,
    /// Of the unknown: how many turned out to be in force.
    pub in_force: u64,
    pub checked: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.in_force += other.in_force;
        self.checked += other.checked;
    }
}
