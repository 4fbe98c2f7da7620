//! The comparison of the ledger with the service.

use std::fmt::Debug;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    clients::{Client, text},
    ledger::{Account, Life, Outcome, Recorded, Session, Tally},
};
use crate::support::{OPERATOR_TOKEN, Reply, Request, Service, eventually};

/// Which users are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Users with requests since the last check, and a sample of the others.
    Touched,
    Everything,
}

/// A service to compare with, and the token of an admin, who may read every user.
pub struct Checker<'a> {
    pub service: &'a Service,
    pub admin: &'a str,
}

impl Client {
    /// Compares this client's users with the service.
    ///
    /// # Panics
    /// If the service contradicts an acknowledged write.
    pub async fn check(&mut self, checker: &Checker<'_>, extent: Extent) {
        for mut account in std::mem::take(&mut self.accounts) {
            if extent == Extent::Everything || account.is_touched || self.rng.u8(..4) == 0 {
                checker.check(&mut account, &mut self.tally).await;
            }
            let is_deleted = account.user_id.is_some() && account.exists.is_certain() && !account.exists.get();
            (if is_deleted { &mut self.deleted } else { &mut self.accounts }).push(account);
        }
        for account in &mut self.deleted {
            if extent == Extent::Everything || account.is_touched || self.rng.u8(..8) == 0 {
                checker.check(account, &mut self.tally).await;
            }
        }
    }
}

impl Checker<'_> {
    async fn check(&self, account: &mut Account, tally: &mut Tally) {
        let before = account.clone();
        if let Err(difference) = self.compare(account, tally).await {
            panic!("acknowledged and lost: {difference}\nbefore the check: {before:#?}");
        }
        account.is_touched = false;
        tally.checked += 1;
    }

    async fn compare(&self, account: &mut Account, tally: &mut Tally) -> Result<(), String> {
        if account.user_id.is_none() {
            let Some(user) = self.user_of_name(account.login_name.get()).await else { return Ok(()) };
            account.user_id = Some(text(&user["user_id"]));
        }
        self.settle(account).await;
        let user_id = account.user_id.clone().expect("the id is known");
        let row = self.answer(|| self.service.get(&format!("/v1/users/{user_id}")).bearer(self.admin)).await;
        note(tally, account.exists.compare("the user's existence", &(row.status != 404)))?;
        if row.status != 404 {
            assert_eq!(row.status, 200, "{}", row.text);
            compare_row(account, &row.json(), tally)?;
        }
        self.compare_names(account, &user_id).await?;
        self.compare_sessions(account, &row, tally).await?;
        self.compare_passwords(account, tally).await
    }

    /// Writes the row of a user with unanswered writes. Those that have no effect by then never will have.
    async fn settle(&self, account: &mut Account) {
        let texts = [&account.login_name, &account.password, &account.profile_name, &account.note];
        let flags = [&account.exists, &account.is_admin, &account.is_suspended];
        if texts.into_iter().all(Recorded::is_certain) && flags.into_iter().all(Recorded::is_certain) {
            return;
        }
        let name = Uuid::new_v4().to_string();
        let patch = json!({"profile": {"name": name}});
        let path = format!("/v1/users/{}", account.user_id.as_deref().expect("the id is known"));
        let reply = self.answer(|| self.service.patch(&path, patch.clone()).bearer(self.admin)).await;
        if reply.status == 200 {
            account.seal();
            account.profile_name.write(name, Outcome::Acknowledged);
        }
    }

    async fn compare_names(&self, account: &Account, user_id: &str) -> Result<(), String> {
        let holds_name = *account.exists.get();
        let own = self.user_of_name(account.login_name.get()).await;
        let is_own = own.is_some_and(|user| user["user_id"] == user_id);
        if is_own == holds_name { Ok(()) } else { Err(format!("the user is found by its name: {is_own}")) }
    }

    async fn compare_sessions(&self, account: &mut Account, row: &Reply, tally: &mut Tally) -> Result<(), String> {
        for session in &mut account.sessions {
            let reply = self.answer(|| self.service.get("/v1/session").bearer(&session.token)).await;
            note(tally, session.compare(reply.status))?;
            if reply.status == 200 {
                let (shown, row) = (reply.json(), row.json());
                for field in ["login_name", "preferences", "permissions"] {
                    if shown[field] != row[field] {
                        return Err(format!("a session shows {field} {}, the row {}", shown[field], row[field]));
                    }
                }
            }
        }
        Ok(())
    }

    /// Logs in with every password that may be the current one, and with the former one.
    async fn compare_passwords(&self, account: &mut Account, tally: &mut Tally) -> Result<(), String> {
        if let Some(former) = &account.former_password
            && self.log_in(account, former).await.is_right
        {
            return Err("the former password is accepted".to_owned());
        }
        let may_log_in = *account.exists.get() && !account.is_suspended.get();
        let mut accepted = None;
        for password in std::iter::once(account.password.get()).chain(account.password.unknown()) {
            let login = self.log_in(account, password).await;
            if login.is_right {
                accepted = Some((password.clone(), login.token));
            }
        }
        match accepted {
            Some((password, token)) if may_log_in => {
                note(tally, account.password.compare("the password", &password))?;
                account.logins += 1;
                account.sessions.extend(token.map(|token| Session { token, life: Life::Live }));
                Ok(())
            }
            None if !may_log_in => Ok(()),
            Some(_) => Err("a user that is suspended or deleted logs in".to_owned()),
            None => Err("no password is accepted".to_owned()),
        }
    }

    async fn log_in(&self, account: &Account, password: &str) -> Login {
        let body = json!({"login_name": account.login_name.get(), "password": password});
        eventually("a login is answered", async || {
            let reply = self.service.post("/v1/login", body.clone()).send().await;
            match reply.status.as_u16() {
                200 => Ok(Login { is_right: true, token: Some(reply.string("token")) }),
                401 => Ok(Login { is_right: false, token: None }),
                // A killed revocation may be pending. Only a login with the right password learns of it.
                503 if reply.text.contains("revocation-pending") => Ok(Login { is_right: true, token: None }),
                503 => Err(reply.text),
                _ => panic!("a login was refused: {} {}", reply.status, reply.text),
            }
        })
        .await
    }

    async fn user_of_name(&self, name: &str) -> Option<Value> {
        let path = format!("/v1/operator/users?login_name={name}");
        let reply = self.answer(|| self.service.get(&path).bearer(OPERATOR_TOKEN)).await;
        (reply.status == 200).then(|| reply.json())
    }

    /// The answer of a service that has recovered. It may still refuse some requests.
    async fn answer(&self, request: impl Fn() -> Request) -> Reply {
        eventually("the service answers", async || {
            let reply = request().send().await;
            if reply.status.is_server_error() { Err(format!("{} {}", reply.status, reply.text)) } else { Ok(reply) }
        })
        .await
    }
}

struct Login {
    is_right: bool,
    token: Option<String>,
}

fn compare_row(account: &mut Account, row: &Value, tally: &mut Tally) -> Result<(), String> {
    let seen = |tally: &mut Tally, field: &mut Recorded<String>, what: &str, value: &Value| {
        note(tally, field.compare(what, &text(value)))
    };
    seen(tally, &mut account.login_name, "the login name", &row["login_name"])?;
    seen(tally, &mut account.profile_name, "the profile's name", &row["profile"]["name"])?;
    seen(tally, &mut account.note, "the preference", &row["preferences"]["note"])?;
    let is_admin = row["permissions"].as_array().is_some_and(|all| all.contains(&json!("admin")));
    note(tally, flag("the permission", &mut account.is_admin, is_admin))?;
    note(tally, flag("the suspension", &mut account.is_suspended, row["suspended"] == true))
}

fn flag(what: &str, field: &mut Recorded<bool>, seen: bool) -> Result<bool, String> {
    field.compare(what, &seen)
}

/// Counts an unanswered write that took effect.
fn note<E: Debug>(tally: &mut Tally, compared: Result<bool, E>) -> Result<(), E> {
    tally.effective += u64::from(compared?);
    Ok(())
}
