//! Clients that write all the time, one request after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::ledger::{Account, Life, Outcome, Recorded, Session, Tally};
use crate::support::{OPERATOR_TOKEN, Reply, Request, Service};

/// How many users a client has at a time.
const ACCOUNTS: std::ops::Range<usize> = 4..9;
/// All sessions of a user are ended before their number reaches `session_limit`.
const MAX_LOGINS: usize = 60;

pub struct Client {
    pub rng: Rng,
    /// Users that may exist.
    pub accounts: Vec<Account>,
    /// Users that are deleted.
    pub deleted: Vec<Account>,
    /// Former names of renamed and deleted users.
    freed: Vec<String>,
    pub tally: Tally,
}

impl Client {
    pub fn new(seed: u64) -> Self {
        let (accounts, deleted, freed) = (Vec::new(), Vec::new(), Vec::new());
        Self { rng: Rng::with_seed(seed), accounts, deleted, freed, tally: Tally::default() }
    }

    /// Writes until it is stopped.
    pub async fn work(mut self, service: Arc<Service>, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            let pause = match self.step(&service).await {
                Some(Outcome::Acknowledged) => continue,
                Some(Outcome::Unknown) => self.rng.u64(5..25),
                None => 1,
            };
            // A client that was refused retries after a random pause.
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self
    }

    /// Makes a random request, if its preconditions hold.
    async fn step(&mut self, service: &Service) -> Option<Outcome> {
        if self.accounts.len() < ACCOUNTS.start || (self.accounts.len() < ACCOUNTS.end && self.rng.u8(..20) == 0) {
            return Some(self.register(service).await);
        }
        let index = self.rng.usize(..self.accounts.len());
        let account = &mut self.accounts[index];
        account.is_touched = true;
        if account.user_id.is_none() {
            return Some(self.send_registration(index, service).await);
        }
        if !account.exists.is_certain() {
            return None;
        }
        let outcome = match self.rng.u8(..100) {
            0..5 => self.set_permissions(index, service).await?,
            5..11 => self.set_suspended(index, service).await?,
            11..25 => self.log_in(index, service).await?,
            own => {
                let Some(token) = account.token().map(str::to_owned) else {
                    return self.log_in(index, service).await;
                };
                let is_due = account.logins >= MAX_LOGINS;
                match own {
                    _ if is_due => self.end_all(index, service, &token).await,
                    25..29 => self.end_all(index, service, &token).await,
                    29..40 => self.log_out(index, service, &token).await,
                    40..50 => self.change_password(index, service, &token).await?,
                    50..60 => self.rename(index, service, &token).await,
                    60..70 => self.change_profile(index, service, &token).await,
                    70..75 => self.delete(index, service, &token).await,
                    _ => self.change_preferences(index, service, &token).await,
                }
            }
        };
        Some(outcome)
    }

    async fn register(&mut self, service: &Service) -> Outcome {
        let name = if self.rng.bool() { self.freed.pop() } else { None };
        let account = Account::new(name.unwrap_or_else(|| format!("name-{}", Uuid::new_v4().simple())));
        self.accounts.push(account);
        self.send_registration(self.accounts.len() - 1, service).await
    }

    /// Registers a user, or repeats a registration with its idempotency key.
    async fn send_registration(&mut self, index: usize, service: &Service) -> Outcome {
        let account = &mut self.accounts[index];
        let body = json!({
            "login_name": account.login_name.get(),
            "password": account.password.get(),
            "profile": {"name": account.profile_name.get(), "email": "ada@example.com"},
            "preferences": {"note": account.note.get()},
        });
        let request = service.post("/v1/users", body).header("idempotency-key", &account.idempotency_key);
        let (outcome, reply) = send(&mut self.tally, "a registration", request).await;
        account.exists.write(true, outcome);
        account.user_id = reply.map(|reply| text(&reply.json()["user_id"]));
        outcome
    }

    async fn log_in(&mut self, index: usize, service: &Service) -> Option<Outcome> {
        let account = &mut self.accounts[index];
        let is_possible = account.password.is_certain()
            && account.login_name.is_certain()
            && account.is_suspended.is_certain()
            && !account.is_suspended.get();
        if !is_possible || account.logins >= MAX_LOGINS {
            return None;
        }
        account.logins += 1;
        let body = json!({"login_name": account.login_name.get(), "password": account.password.get()});
        let reply = service.post("/v1/login", body).try_send().await;
        // An unanswered login leaves a session whose token is not known, so that there is nothing to compare.
        let outcome = Outcome::of("a login", &reply);
        if outcome == Outcome::Acknowledged {
            self.tally.acknowledged += 1;
            let token = text(&reply.expect("an answer").json()["token"]);
            account.sessions.push(Session { token, life: Life::Live });
        }
        Some(outcome)
    }

    async fn log_out(&mut self, index: usize, service: &Service, token: &str) -> Outcome {
        let request = service.request(Method::POST, "/v1/logout").bearer(token);
        let (outcome, _) = send(&mut self.tally, "a logout", request).await;
        let session = self.accounts[index].sessions.iter_mut().find(|session| session.token == token);
        let life = if outcome == Outcome::Acknowledged { Life::Ended } else { Life::Unknown };
        session.expect("its session").life = life;
        outcome
    }

    async fn end_all(&mut self, index: usize, service: &Service, token: &str) -> Outcome {
        let request = service.delete("/v1/sessions").bearer(token);
        let (outcome, _) = send(&mut self.tally, "ending all sessions", request).await;
        self.accounts[index].end_sessions(outcome, None);
        outcome
    }

    async fn change_preferences(&mut self, index: usize, service: &Service, token: &str) -> Outcome {
        // Sometimes so large that the row needs new pages.
        let length = if self.rng.u8(..4) == 0 { self.rng.usize(1000..8000) } else { 20 };
        let note: String = std::iter::repeat_with(|| self.rng.alphanumeric()).take(length).collect();
        let request = service.patch("/v1/users/me/preferences", json!({ "note": note })).bearer(token);
        self.write_row(index, "a change of preferences", request, |account| &mut account.note, note).await
    }

    async fn change_profile(&mut self, index: usize, service: &Service, token: &str) -> Outcome {
        let name = Uuid::new_v4().to_string();
        let request = service.patch("/v1/users/me", json!({"profile": {"name": name}})).bearer(token);
        self.write_row(index, "a change of the profile", request, |account| &mut account.profile_name, name).await
    }

    async fn rename(&mut self, index: usize, service: &Service, token: &str) -> Outcome {
        let name = format!("name-{}", Uuid::new_v4().simple());
        let former = self.accounts[index].login_name.clone();
        let request = service.patch("/v1/users/me", json!({"login_name": name})).bearer(token);
        let outcome = self.write_row(index, "a rename", request, |account| &mut account.login_name, name).await;
        if outcome == Outcome::Acknowledged && former.is_certain() {
            self.freed.push(former.get().clone());
        }
        outcome
    }

    async fn change_password(&mut self, index: usize, service: &Service, token: &str) -> Option<Outcome> {
        let account = &self.accounts[index];
        if !account.password.is_certain() {
            return None;
        }
        let (former, new) = (account.password.get().clone(), format!("pass phrase {}", Uuid::new_v4().simple()));
        let change = json!({"current_password": former, "new_password": new});
        let request = service.put("/v1/users/me/password", change).bearer(token);
        let what = "a change of password";
        let outcome = self.write_row(index, what, request, |account| &mut account.password, new).await;
        let account = &mut self.accounts[index];
        account.end_sessions(outcome, Some(token));
        if outcome == Outcome::Acknowledged {
            account.former_password = Some(former);
        }
        Some(outcome)
    }

    async fn set_permissions(&mut self, index: usize, service: &Service) -> Option<Outcome> {
        let account = &self.accounts[index];
        let value = !account.is_admin.get();
        if !account.is_admin.is_certain() {
            return None;
        }
        let permissions = if value { json!(["read", "write", "admin"]) } else { json!(["read", "write"]) };
        let path = format!("/v1/operator/users/{}/permissions", account.user_id.as_deref()?);
        let request = service.put(&path, json!({ "permissions": permissions })).bearer(OPERATOR_TOKEN);
        Some(self.write_row(index, "a change of permissions", request, |account| &mut account.is_admin, value).await)
    }

    async fn set_suspended(&mut self, index: usize, service: &Service) -> Option<Outcome> {
        let account = &self.accounts[index];
        let value = !account.is_suspended.get();
        if !account.is_suspended.is_certain() {
            return None;
        }
        let path = format!("/v1/operator/users/{}/suspended", account.user_id.as_deref()?);
        let request = service.put(&path, json!({ "suspended": value })).bearer(OPERATOR_TOKEN);
        let outcome = self.write_row(index, "a suspension", request, |account| &mut account.is_suspended, value).await;
        if value {
            self.accounts[index].end_sessions(outcome, None);
        }
        Some(outcome)
    }

    async fn delete(&mut self, index: usize, service: &Service, token: &str) -> Outcome {
        let request = service.delete("/v1/users/me").bearer(token);
        let outcome = self.write_row(index, "a deletion", request, |account| &mut account.exists, false).await;
        self.accounts[index].end_sessions(outcome, None);
        if outcome == Outcome::Acknowledged {
            let account = self.accounts.swap_remove(index);
            if account.login_name.is_certain() {
                self.freed.push(account.login_name.get().clone());
            }
            self.deleted.push(account);
        }
        outcome
    }

    /// Sends a write of one field of a user's row.
    async fn write_row<T: Clone + PartialEq + std::fmt::Debug>(
        &mut self,
        index: usize,
        what: &str,
        request: Request,
        field: impl Fn(&mut Account) -> &mut Recorded<T>,
        value: T,
    ) -> Outcome {
        let (outcome, _) = send(&mut self.tally, what, request).await;
        let account = &mut self.accounts[index];
        if outcome == Outcome::Acknowledged {
            account.seal();
        }
        field(account).write(value, outcome);
        outcome
    }
}

/// Sends a write; returns the reply if it was acknowledged.
async fn send(tally: &mut Tally, what: &str, request: Request) -> (Outcome, Option<Reply>) {
    let reply = request.try_send().await;
    let outcome = Outcome::of(what, &reply);
    match outcome {
        Outcome::Acknowledged => tally.acknowledged += 1,
        Outcome::Unknown => tally.unknown += 1,
    }
    (outcome, reply.ok().filter(|_| outcome == Outcome::Acknowledged))
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}
