//! Operations on users during which another operation runs from beginning to end.

mod staged;

use crate::support::{NEW_PASSWORD, PASSWORD, in_time, until};
use staged::{Stage, Step};
use symbolon::{
    audit::Actor,
    model::{Client, UserId},
    users::{Precondition, Registration, UserChange, UserError, Users},
};

fn rename_to(name: &str) -> UserChange {
    UserChange { login_name: Some(name.to_owned()), ..UserChange::default() }
}

#[tokio::test]
async fn a_registration_whose_claim_is_taken_over_before_its_insert_fails() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let held = stage.clone();
    stage.before(Step::Insert, async move {
        held.age_claims().await;
        others.register(staged::registration("ada")).await.expect("the name is free again");
    });
    let late = users.register(staged::registration("ada")).await;
    assert!(matches!(late, Err(UserError::NameTaken)), "{late:?}");
    let found = users.find_by_name("ada").await.expect("a user");
    stage.login("ada", PASSWORD).await.expect("the user logs in");
    assert_eq!(stage.rows_naming("ada").await, [found.user_id.to_string()]);
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_rename_whose_claim_is_taken_over_before_its_update_fails() {
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
    stage.login("prize", PASSWORD).await.expect("the other user has the new name");
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_rename_during_another_change_of_the_row_succeeds() {
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
    assert!(renamed.version >= registered.version + 2, "not both changes raised the version");
    stage.login("lovelace", PASSWORD).await.expect("the new name works");
    users.register(staged::registration("ada")).await.expect("the former name is free");
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_rename_back_before_the_confirmation_keeps_the_name() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let held = stage.clone();
    stage.before(Step::Confirm, async move {
        held.age_claims().await;
        others.change(user_id, &Precondition::None, rename_to("ada")).await.expect("a rename back");
    });
    users.change(user_id, &Precondition::None, rename_to("lovelace")).await.expect("a rename");
    stage.login("ada", PASSWORD).await.expect("the final name works");
    let other = users.register(staged::registration("ada")).await;
    assert!(matches!(other, Err(UserError::NameTaken)), "{other:?}");
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_deletion_during_a_change_of_the_row_deletes_it() {
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
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_login_fails_if_the_password_changes_during_it() {
    let stage = Stage::new().await;
    let (users, others) = (stage.users(), stage.users());
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    // The login has read the generation, and the row with the old password.
    stage.after(Step::Find, async move {
        change_password(&others, user_id).await.expect("a change");
    });
    let login = in_time("the login ends", stage.login("ada", PASSWORD)).await;
    assert!(matches!(login, Err(UserError::InvalidCredentials)), "{login:?}");
    assert_eq!(stage.sessions_of(user_id).await, 0);
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_login_during_a_password_change_is_refused() {
    let stage = Stage::new().await;
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let held = stage.clone();
    // The first revocation step is done, and the row still has the old password.
    stage.before(Step::Update, async move {
        let refused = held.login("ada", PASSWORD).await;
        assert!(matches!(refused, Err(UserError::RevocationPending { .. })), "{refused:?}");
        // A client without the password must not learn of the change.
        let wrong = held.login("ada", NEW_PASSWORD).await;
        assert!(matches!(wrong, Err(UserError::InvalidCredentials)), "{wrong:?}");
        let issued = held.users().issue_session(user_id, Client::default()).await;
        assert!(matches!(issued, Err(UserError::RevocationPending { .. })), "{issued:?}");
    });
    change_password(&users, user_id).await.expect("a change");
    assert_eq!(stage.sessions_of(user_id).await, 0);
    stage.login("ada", NEW_PASSWORD).await.expect("the new password works at once");
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_login_during_a_suspension_is_refused() {
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
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_login_during_a_deletion_is_refused() {
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
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_refused_password_change_leaves_no_revocation() {
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
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_password_change_ends_sessions_made_after_its_revocation_expired() {
    let stage = Stage::new().await;
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let held = stage.clone();
    stage.before(Step::Update, async move {
        until("the revocation expires", async || match held.login("ada", PASSWORD).await {
            Ok(_) => true,
            Err(refused) => {
                assert!(matches!(refused, UserError::RevocationPending { .. }), "{refused:?}");
                false
            }
        })
        .await;
    });
    change_password(&users, user_id).await.expect("a change under another revocation");
    assert_eq!(stage.sessions_of(user_id).await, 0);
    stage.login("ada", NEW_PASSWORD).await.expect("the password is the new one");
    stage.assert_all_events_happened();
}

/// Suspends a user on an instance that pauses before `step`, and that dies once its write is committed. During the pause its
/// revocation, if it has begun one, expires, and the user logs in.
async fn suspend_after_pause(stage: &Stage, step: Step) -> UserId {
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    let (committed, is_committed) = tokio::sync::oneshot::channel();
    let held = stage.clone();
    stage.before(step, async move {
        held.expire_revocations().await;
        held.login("ada", PASSWORD).await.expect("a login");
        let next = held.clone();
        let die = async move {
            committed.send(()).expect("the test is waiting");
            std::future::pending().await
        };
        match step {
            Step::Update => held.before(Step::Update, async move { next.after(Step::Update, die) }),
            _ => held.after(Step::Update, die),
        }
    });
    let suspension = tokio::spawn(async move { users.set_suspended(user_id, true).await });
    in_time("the suspension is committed", is_committed).await.expect("a commit");
    suspension.abort();
    assert!(stage.users().find(user_id).await.expect("an answer").suspended);
    user_id
}

#[tokio::test]
async fn a_suspension_retried_after_its_revocation_expired_leaves_no_session() {
    let stage = Stage::new().await;
    let user_id = suspend_after_pause(&stage, Step::Update).await;
    assert_eq!(stage.sessions_of(user_id).await, 0, "a session survives the suspension");
    stage.assert_all_events_happened();
}

#[tokio::test]
async fn a_suspension_whose_revocation_expired_before_its_read_leaves_no_session() {
    let stage = Stage::new().await;
    let user_id = suspend_after_pause(&stage, Step::Find).await;
    assert_eq!(stage.sessions_of(user_id).await, 0, "a session survives the suspension");
    stage.assert_all_events_happened();
}

async fn change_password(users: &Users, user_id: UserId) -> Result<(), UserError> {
    let (old, new) = (PASSWORD.to_owned().into(), NEW_PASSWORD.to_owned().into());
    users.change_password(user_id, &old, &new, None, Actor::Anonymous, None).await
}

#[tokio::test]
async fn a_claim_is_released_if_its_row_was_not_sent() {
    let stage = Stage::new().await;
    let users = stage.users();
    stage.refuse(Step::Insert);
    users.register(staged::registration("ada")).await.expect_err("a statement that was not sent");
    let user_id = users.register(staged::registration("ada")).await.expect("the name is free").user_id;
    stage.refuse(Step::Update);
    users.change(user_id, &Precondition::None, rename_to("lovelace")).await.expect_err("a statement that was not sent");
    users.register(staged::registration("lovelace")).await.expect("the name is free");
}

#[tokio::test]
async fn an_unsent_password_change_leaves_no_revocation() {
    let stage = Stage::new().await;
    let users = stage.users();
    let user_id = users.register(staged::registration("ada")).await.expect("a user").user_id;
    stage.refuse(Step::Update);
    change_password(&users, user_id).await.expect_err("a statement that was not sent");
    stage.login("ada", PASSWORD).await.expect("no revocation is left");
}

#[tokio::test]
async fn only_a_registration_with_an_idempotency_key_waits_for_a_pending_claim() {
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
        assert!(held.claim_lookups() - before > 10, "it did not wait for the claim");
    });
    users.register(staged::registration("ada")).await.expect("a user");
    let late = users.register(staged::registration("ada")).await;
    assert!(matches!(late, Err(UserError::NameTaken)), "{late:?}");
    stage.assert_all_events_happened();
}
