//! An instance that is killed between any two steps of an operation on a login name.
//!
//! Claims are on the shards 0 and 2, users on shard 1, so that no two steps share a database. Each test is about one step. The
//! statement that waits when the instance is killed is lost in one case, and committed in the other.

mod deletions;
mod passwords;
mod preferences;
mod registrations;
mod renames;
mod stage;
mod steps;
mod takeovers;

use serde_json::json;
use stage::Stage;
use steps::{Fate, Step};

use crate::support::{Request, Service, registration};

/// The shards of login names, users and new login names.
const NAME: usize = 0;
const USER: usize = 1;
const NEW_NAME: usize = 2;

/// The insert of a user's row, on one of the shards without the name's claim.
const INSERT_USER: &[Step] = &[Step::Insert(USER), Step::Insert(NEW_NAME)];

fn registering(name: &str) -> impl Fn(&Service) -> Request {
    let request = registration(name);
    move |service| service.post("/v1/users", request.clone())
}

/// Kills registrations at a step until one has its user on another shard than its name; returns that name.
async fn killed_registration(stage: &Stage, steps: &[&[Step]], fate: Fate) -> String {
    loop {
        let name = stage.name_on(NAME).await;
        if stage.crash_at(registering(&name), steps, fate).await.is_some() {
            return name;
        }
    }
}

/// A user whose rename was killed at the last of `steps`.
struct KilledRename {
    user: String,
    former: String,
    new: String,
    token: String,
}

async fn killed_rename(stage: &Stage, steps: &[&[Step]], fate: Fate) -> KilledRename {
    let (user, former) = stage.user_on(USER, NAME).await;
    let (new, token) = (stage.name_on(NEW_NAME).await, stage.service.login(&former).await);
    let change = |service: &Service| service.patch("/v1/users/me", json!({"login_name": new})).bearer(&token);
    stage.crash_at(change, steps, fate).await.expect("the request reaches the step");
    KilledRename { user, former, new, token }
}

impl KilledRename {
    /// Asserts that the user has one of the names, and that others can register the other one after a while.
    async fn assert_has(&self, stage: &Stage, own: &str, other: &str) {
        assert_eq!(stage.answers_to(own).await.as_ref(), Some(&self.user));
        assert_eq!(stage.answers_to(other).await, None);
        stage.age_claims();
        stage.assert_refused(own).await;
        stage.assert_free(other).await;
        assert_eq!(stage.answers_to(own).await.as_ref(), Some(&self.user));
    }

    /// Asserts that the user can repeat the rename.
    async fn assert_repeatable(&self, stage: &Stage) {
        stage.age_claims();
        let change = json!({"login_name": self.new});
        let reply = stage.service.patch("/v1/users/me", change).bearer(&self.token).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(stage.answers_to(&self.new).await.as_ref(), Some(&self.user));
        stage.age_claims();
        stage.assert_free(&self.former).await;
    }
}

const RENAME: [&[Step]; 4] =
    [&[Step::Insert(NEW_NAME)], &[Step::User(USER)], &[Step::Claim(NEW_NAME)], &[Step::Claim(NAME)]];
