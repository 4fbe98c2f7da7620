//! Snapshots of users, which their sessions show.

use symbolon::{
    model::UserId,
    shared_store::{RevocationStep, SharedStore},
};

use super::{IDLE, LIMIT, at, create, generation, later, session, snapshot};

pub async fn a_snapshot_is_replaced_only_by_a_higher_version(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let shown = async || {
        let used = store.use_session(session.user_id, session.session_id, IDLE, at(1)).await.expect("an answer");
        used.expect("a session").1
    };
    store.put_snapshot(session.user_id, &snapshot(3), later()).await.expect("an answer");
    assert_eq!(shown().await, snapshot(3));
    store.put_snapshot(session.user_id, &snapshot(2), later()).await.expect("an answer");
    assert_eq!(shown().await, snapshot(3));
    create(store, session.user_id, at(1)).await;
    assert_eq!(shown().await, snapshot(3));
}

pub async fn a_snapshot_is_repaired_only_if_older_and_present(store: &dyn SharedStore) {
    let session = create(store, UserId::generate(), at(0)).await;
    let replace =
        async |user_id, version| store.replace_snapshot(user_id, &snapshot(version)).await.expect("an answer");
    assert!(!replace(session.user_id, 1).await, "it is the same");
    assert!(replace(session.user_id, 3).await);
    assert!(!replace(session.user_id, 2).await, "it is older");
    let used = store.use_session(session.user_id, session.session_id, IDLE, at(1)).await.expect("an answer");
    assert_eq!(used.expect("a session").1, snapshot(3));
    store.forget_user(session.user_id, None, later()).await.expect("an answer");
    assert!(!replace(session.user_id, 9).await, "it is forgotten");

    let stranger = UserId::generate();
    assert!(!replace(stranger, 1).await);
    assert_eq!(generation(store, stranger).await, None, "none was made");
    store.raise_generation(stranger, None, RevocationStep::Only, later()).await.expect("an answer");
    assert!(!replace(stranger, 1).await, "it has a generation only");
}

pub async fn a_snapshot_written_before_the_first_login_stops_a_pending_login(store: &dyn SharedStore) {
    let user_id = UserId::generate();
    let before = generation(store, user_id).await;
    store.put_snapshot(user_id, &snapshot(2), later()).await.expect("an answer");
    let late = session(user_id, at(1));
    assert!(!store.create_session(&late, before, &snapshot(1), LIMIT).await.expect("an answer"));
    let again = create(store, user_id, at(2)).await;
    let used = store.use_session(user_id, again.session_id, IDLE, at(3)).await.expect("an answer");
    assert_eq!(used.expect("a session").1, snapshot(2));
}
