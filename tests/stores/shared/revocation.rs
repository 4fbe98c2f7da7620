//! Revocations in two steps.

use std::time::Duration;

use symbolon::{
    model::UserId,
    shared_store::{PendingRevocation, RevocationSelector, RevocationStep, SharedStore},
};
use uuid::Uuid;

use super::{IDLE, LIMIT, at, create, generation, is_alive, later, session, snapshot};
use crate::support::until;

/// Longer than any of these tests takes.
const LONG: Duration = Duration::from_secs(300);

async fn raise(store: &dyn SharedStore, user_id: UserId, step: RevocationStep) {
    store.raise_generation(user_id, None, step, later()).await.expect("an answer");
}

async fn pending(store: &dyn SharedStore, user_id: UserId) -> PendingRevocation {
    store.begin_login(user_id).await.expect("an answer").revocation
}

async fn is_unexpired(store: &dyn SharedStore, user_id: UserId) -> bool {
    matches!(pending(store, user_id).await, PendingRevocation::Unexpired { .. })
}

fn first(id: Uuid) -> RevocationStep {
    RevocationStep::First { id, lifetime: LONG }
}

pub async fn a_revocation_is_pending_until_its_second_step(store: &dyn SharedStore) {
    let (user_id, id) = (UserId::generate(), Uuid::new_v4());
    let session = create(store, user_id, at(0)).await;
    let before = generation(store, user_id).await;
    raise(store, user_id, first(id)).await;
    let PendingRevocation::Unexpired { remaining } = pending(store, user_id).await else { panic!("it is not pending") };
    assert!(remaining <= LONG && remaining > LONG / 2, "{remaining:?}");
    assert!(!is_unexpired(store, UserId::generate()).await, "it is pending for another user");
    assert!(!is_alive(store, &session, at(1)).await);
    let between = generation(store, user_id).await;
    assert_ne!(between, before);
    raise(store, user_id, RevocationStep::Second { id }).await;
    assert_eq!(pending(store, user_id).await, PendingRevocation::None);
    let late = super::session(user_id, at(2));
    assert!(!store.create_session(&late, between, &snapshot(1), LIMIT).await.expect("an answer"));
    assert!(is_alive(store, &create(store, user_id, at(3)).await, at(4)).await);
}

pub async fn a_second_step_leaves_other_revocations_pending(store: &dyn SharedStore) {
    let (user_id, own, other) = (UserId::generate(), Uuid::new_v4(), Uuid::new_v4());
    raise(store, user_id, first(own)).await;
    raise(store, user_id, first(other)).await;
    raise(store, user_id, RevocationStep::Second { id: own }).await;
    raise(store, user_id, RevocationStep::Only).await;
    assert!(is_unexpired(store, user_id).await);
    store.remove_revocations(user_id, RevocationSelector::One(own)).await.expect("an answer");
    assert!(is_unexpired(store, user_id).await);
    store.remove_revocations(user_id, RevocationSelector::One(other)).await.expect("an answer");
    assert_eq!(pending(store, user_id).await, PendingRevocation::None);
}

pub async fn an_expired_revocation_is_not_pending(store: &dyn SharedStore) {
    let (user_id, id) = (UserId::generate(), Uuid::new_v4());
    raise(store, user_id, RevocationStep::First { id, lifetime: Duration::from_millis(50) }).await;
    until("it expires", async || !is_unexpired(store, user_id).await).await;
    let PendingRevocation::Expired { as_of } = pending(store, user_id).await else { panic!("it is forgotten") };
    // A pending one counts beside an expired one, and is not removed with it.
    let other = Uuid::new_v4();
    raise(store, user_id, first(other)).await;
    assert!(is_unexpired(store, user_id).await);
    store.remove_revocations(user_id, RevocationSelector::ExpiredBy(as_of)).await.expect("an answer");
    assert!(is_unexpired(store, user_id).await);
    raise(store, user_id, RevocationStep::Second { id: other }).await;
    assert_eq!(pending(store, user_id).await, PendingRevocation::None);
}

pub async fn a_revocation_that_lasts_too_long_counts_as_expired(store: &dyn SharedStore) {
    let (user_id, other) = (UserId::generate(), Uuid::new_v4());
    for _ in 0..2 {
        raise(store, user_id, RevocationStep::First { id: Uuid::new_v4(), lifetime: Duration::from_secs(3600) }).await;
    }
    let PendingRevocation::Expired { as_of } = pending(store, user_id).await else { panic!("it is pending") };
    raise(store, user_id, first(other)).await;
    store.remove_revocations(user_id, RevocationSelector::ExpiredBy(as_of)).await.expect("an answer");
    assert!(is_unexpired(store, user_id).await, "the other one has expired");
    raise(store, user_id, RevocationStep::Second { id: other }).await;
    assert_eq!(pending(store, user_id).await, PendingRevocation::None);
}

pub async fn an_excepted_session_survives_both_revocation_steps(store: &dyn SharedStore) {
    let (user_id, id) = (UserId::generate(), Uuid::new_v4());
    let (kept, other) = (create(store, user_id, at(0)).await, create(store, user_id, at(1)).await);
    for step in [first(id), RevocationStep::Second { id }] {
        store.raise_generation(user_id, Some(kept.session_id), step, later()).await.expect("an answer");
        assert!(is_alive(store, &kept, at(2)).await && !is_alive(store, &other, at(2)).await);
    }
}

pub async fn forgetting_a_user_removes_only_its_own_revocation(store: &dyn SharedStore) {
    let (user_id, own, other) = (UserId::generate(), Uuid::new_v4(), Uuid::new_v4());
    raise(store, user_id, first(own)).await;
    store.forget_user(user_id, Some(own), later()).await.expect("an answer");
    assert_eq!(pending(store, user_id).await, PendingRevocation::None);
    raise(store, user_id, first(other)).await;
    store.forget_user(user_id, Some(own), later()).await.expect("an answer");
    assert!(is_unexpired(store, user_id).await);
    let session = session(user_id, at(0));
    let used = store.use_session(user_id, session.session_id, IDLE, at(0)).await.expect("an answer");
    assert_eq!(used, None);
}
