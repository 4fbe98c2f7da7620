//! Operations on login names that meet at the worst moment: another one runs to its end in the middle of them.

mod staged;

use std::time::Duration;

use staged::{Stage, Step};
use symbolon::{
    audit::Actor,
    model::{Client, UserId},
    users::{Precondition, Registration, UserChange, UserError, Users},
};

const PASSWORD: &str = "correct horse battery";
const NEW_PASSWORD: &str = "staple battery horse";

fn rename_to(name: &str) -> UserChange {
    UserChange { login_name: Some(name.to_owned()), ..UserChange::default() }
}

#[tokio::test]
async fn a_registration_that_was_overtaken_before_its_insert_fails() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let held = stage.clone();
    stage.before(Step::Insert, async move {
        held.age_claims().await;
        others.register(staged::registration("ada")).await.expect("the name is free again");
    });
    let late = users.register(staged::registration("ada")).await;
    assert!(matches!(late, Err(UserError::NameTaken)), "{late:?}");
    let found = users.find_by_name("ada").await.expect("one user answers");
    stage.login("ada", PASSWORD).await.expect("it can log in");
    assert_eq!(stage.rows_naming("ada").await, [found.user_id.to_string()]);
}

#[tokio::test]
async fn a_rename_that_was_overtaken_before_its_update_fails() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let user = users.register(staged::registration("ada")).await.expect("a user");
    let held = stage.clone();
    stage.before(Step::Update, async move {
        held.age_claims().await;
        others.register(staged::registration("prize")).await.expect("the name is free again");
    });
    let late = users.change(user.user_id, &Precondition::None, rename_to("prize")).await;
    assert!(matches!(late, Err(UserError::NameTaken)), "{late:?}");
    assert_eq!(stage.rows_naming("prize").await.len(), 1);
    assert_ne!(stage.rows_naming("prize").await, [user.user_id.to_string()]);
    stage.login("ada", PASSWORD).await.expect("the user keeps its name");
    stage.login("prize", PASSWORD).await.expect("the taker has its own");
}

#[tokio::test]
async fn a_rename_beside_another_change_of_the_row_succeeds() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let registered = users.register(staged::registration("ada")).await.expect("a user");
    let user_id = registered.user_id;
    stage.before(Step::Update, async move {
        let patch = serde_json::json!({"theme": "dark"});
        others.change_preferences(user_id, &Precondition::None, &patch).await.expect("a change");
    });
    let renamed = users.change(user_id, &Precondition::None, rename_to("lovelace")).await.expect("a rename");
    assert_eq!(renamed.preferences.as_str(), r#"{"theme":"dark"}"#);
    assert!(renamed.version >= registered.version + 2, "both changes raised it");
    stage.login("lovelace", PASSWORD).await.expect("the new name works");
    users.register(staged::registration("ada")).await.expect("the former name is free");
}

#[tokio::test]
async fn a_rename_back_while_the_first_one_finishes_keeps_the_name() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let held = stage.clone();
    stage.before(Step::Confirm, async move {
        held.age_claims().await;
        others.change(user_id, &Precondition::None, rename_to("ada")).await.expect("the way back");
    });
    users.change(user_id, &Precondition::None, rename_to("lovelace")).await.expect("the way there");
    stage.login("ada", PASSWORD).await.expect("the name it has works");
    let stranger = users.register(staged::registration("ada")).await;
    assert!(matches!(stranger, Err(UserError::NameTaken)), "{stranger:?}");
}

#[tokio::test]
async fn a_deletion_beside_a_change_of_the_row_still_deletes_it() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    stage.before(Step::Delete, async move {
        others.change(user_id, &Precondition::None, rename_to("lovelace")).await.expect("a rename");
    });
    users.delete(user_id, &Precondition::None).await.expect("a deletion");
    for name in ["ada", "lovelace"] {
        users.register(staged::registration(name)).await.expect("both names are free");
    }
}

#[tokio::test]
async fn a_password_change_in_the_middle_of_a_login_is_noticed() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    // The login has read the generation and is about to read the row; what it reads next is still the old one.
    stage.after(Step::Find, async move {
        change_password(&others, user_id).await.expect("a change");
    });
    let login = tokio::time::timeout(Duration::from_secs(30), stage.login("ada", PASSWORD)).await.expect("in time");
    assert!(matches!(login, Err(UserError::InvalidCredentials)), "{login:?}");
    assert_eq!(stage.sessions_of(user_id).await, 0);
}

#[tokio::test]
async fn a_login_in_the_middle_of_a_password_change_is_refused_until_it_is_through() {
    let stage = Stage::new().await;
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let held = stage.clone();
    // The sessions have been ended once, and the row still has the old password.
    stage.before(Step::Update, async move {
        let refused = held.login("ada", PASSWORD).await;
        assert!(matches!(refused, Err(UserError::RevocationPending { .. })), "{refused:?}");
        // Whoever does not know the password learns nothing of the change.
        let wrong = held.login("ada", NEW_PASSWORD).await;
        assert!(matches!(wrong, Err(UserError::InvalidCredentials)), "{wrong:?}");
        let issued = held.users().issue_session(user_id, Client::default()).await;
        assert!(matches!(issued, Err(UserError::RevocationPending { .. })), "{issued:?}");
    });
    change_password(&users, user_id).await.expect("a change");
    assert_eq!(stage.sessions_of(user_id).await, 0);
    stage.login("ada", NEW_PASSWORD).await.expect("the new password works at once");
}

#[tokio::test]
async fn a_login_in_the_middle_of_a_suspension_is_refused() {
    let stage = Stage::new().await;
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let held = stage.clone();
    stage.before(Step::Update, async move {
        let refused = held.login("ada", PASSWORD).await;
        assert!(matches!(refused, Err(UserError::RevocationPending { .. })), "{refused:?}");
    });
    users.set_suspended(user_id, true).await.expect("a change");
    assert_eq!(stage.sessions_of(user_id).await, 0);
}

#[tokio::test]
async fn a_login_in_the_middle_of_a_deletion_is_refused() {
    let stage = Stage::new().await;
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let held = stage.clone();
    stage.before(Step::Delete, async move {
        let refused = held.login("ada", PASSWORD).await;
        assert!(matches!(refused, Err(UserError::RevocationPending { .. })), "{refused:?}");
    });
    users.delete(user_id, &Precondition::None).await.expect("a deletion");
    assert_eq!(stage.sessions_of(user_id).await, 0);
}

#[tokio::test]
async fn a_change_that_was_refused_lets_its_user_log_in_at_once() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    stage.before(Step::Update, async move {
        others.set_suspended(user_id, true).await.expect("a change");
        others.set_suspended(user_id, false).await.expect("a change");
        change_password(&others, user_id).await.expect("a change");
    });
    let refused = change_password(&users, user_id).await;
    assert!(matches!(refused, Err(UserError::Contended)), "{refused:?}");
    stage.login("ada", NEW_PASSWORD).await.expect("no revocation is left");
}

#[tokio::test]
async fn a_change_whose_revocation_expired_before_its_write_ends_the_sessions_made_since() {
    let stage = Stage::new().await;
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let held = stage.clone();
    stage.before(Step::Update, async move {
        let log_in = async {
            while let Err(refused) = held.login("ada", PASSWORD).await {
                assert!(matches!(refused, UserError::RevocationPending { .. }), "{refused:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), log_in).await.expect("the revocation expires");
    });
    change_password(&users, user_id).await.expect("a change under another revocation");
    assert_eq!(stage.sessions_of(user_id).await, 0);
    stage.login("ada", NEW_PASSWORD).await.expect("the password is the new one");
}

/// Suspends a user on an instance that stands still before `step` until its revocation, if it has begun one, has expired
/// and the user has logged in, and that dies once its write is committed.
async fn suspend_after_standing_still(stage: &Stage, step: Step) -> UserId {
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let (committed, is_committed) = tokio::sync::oneshot::channel();
    let held = stage.clone();
    stage.before(step, async move {
        held.expire_revocations().await;
        held.login("ada", PASSWORD).await.expect("a login");
        let next = held.clone();
        let die = async move {
            committed.send(()).expect("the test waits");
            std::future::pending().await
        };
        match step {
            Step::Update => held.before(Step::Update, async move { next.after(Step::Update, die) }),
            _ => held.after(Step::Update, die),
        }
    });
    let suspension = tokio::spawn(async move { users.set_suspended(user_id, true).await });
    tokio::time::timeout(Duration::from_secs(30), is_committed).await.expect("in time").expect("a commit");
    suspension.abort();
    assert!(stage.users().find(user_id).await.expect("an answer").suspended);
    user_id
}

#[tokio::test]
async fn a_change_retried_after_its_revocation_expired_leaves_no_session_wherever_it_dies() {
    let stage = Stage::new().await;
    let user_id = suspend_after_standing_still(&stage, Step::Update).await;
    assert_eq!(stage.sessions_of(user_id).await, 0, "the session that the row of before has allowed lives on");
}

#[tokio::test]
async fn a_change_replaces_no_row_read_after_its_revocation_began() {
    let stage = Stage::new().await;
    let user_id = suspend_after_standing_still(&stage, Step::Find).await;
    assert_eq!(stage.sessions_of(user_id).await, 0, "the session that the row of before has allowed lives on");
}

async fn change_password(users: &Users, user_id: UserId) -> Result<(), UserError> {
    let (old, new) = (PASSWORD.to_owned().into(), NEW_PASSWORD.to_owned().into());
    users.change_password(user_id, &old, &new, None, Actor::Nobody, None).await
}

#[tokio::test]
async fn a_name_whose_row_was_not_sent_is_free_at_once() {
    let stage = Stage::new().await;
    let users = stage.users();
    stage.refuse(Step::Insert);
    users.register(staged::registration("ada")).await.expect_err("it is not sent");
    let user_id = users.register(staged::registration("ada")).await.expect("the name is free").user_id;
    stage.refuse(Step::Update);
    users.change(user_id, &Precondition::None, rename_to("lovelace")).await.expect_err("it is not sent");
    users.register(staged::registration("lovelace")).await.expect("the name is free");
}

#[tokio::test]
async fn a_password_change_that_was_not_sent_lets_its_user_log_in_at_once() {
    let stage = Stage::new().await;
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    stage.refuse(Step::Update);
    change_password(&users, user_id).await.expect_err("it is not sent");
    stage.login("ada", PASSWORD).await.expect("no revocation is left");
}

#[tokio::test]
async fn only_a_registration_with_a_key_waits_for_a_claim_under_way() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let user_id = users.register(staged::registration("eve")).await.expect("a user").user_id;
    let held = stage.clone();
    stage.before(Step::Insert, async move {
        let before = held.claim_lookups();
        let registered = others.register(staged::registration("ada")).await;
        assert!(matches!(registered, Err(UserError::NamePending { .. })), "{registered:?}");
        let renamed = others.change(user_id, &Precondition::None, rename_to("ada")).await;
        assert!(matches!(renamed, Err(UserError::NamePending { .. })), "{renamed:?}");
        assert!(held.claim_lookups() - before <= 3, "{} lookups", held.claim_lookups() - before);
        let repeatable = Registration { idempotency_key: Some("key".to_owned()), ..staged::registration("ada") };
        let waited = others.register(repeatable).await;
        assert!(matches!(waited, Err(UserError::NamePending { .. })), "{waited:?}");
        assert!(held.claim_lookups() - before > 10, "it did not wait");
    });
    users.register(staged::registration("ada")).await.expect("a user");
    let late = users.register(staged::registration("ada")).await;
    assert!(matches!(late, Err(UserError::NameTaken)), "{late:?}");
}
