//! Changes of a login name.

use super::{
    RENAME,
    held::{FATES, Fate},
    killed_rename,
    stage::Stage,
};

#[tokio::test]
async fn a_rename_killed_at_its_claim_leaves_the_former_name_in_force() {
    let stage = Stage::new().await;
    for fate in FATES {
        let killed = killed_rename(&stage, &RENAME[..1], fate).await;
        killed.assert_has(&stage, &killed.former, &killed.new).await;
        killed_rename(&stage, &RENAME[..1], fate).await.assert_repeatable(&stage).await;
    }
}

#[tokio::test]
async fn a_rename_killed_before_its_users_row_leaves_the_former_name_in_force() {
    let stage = Stage::new().await;
    let killed = killed_rename(&stage, &RENAME[..2], Fate::Lost).await;
    killed.assert_has(&stage, &killed.former, &killed.new).await;
    killed_rename(&stage, &RENAME[..2], Fate::Lost).await.assert_repeatable(&stage).await;
}

#[tokio::test]
async fn a_rename_killed_with_its_users_row_under_way_has_the_new_name_once_that_is_there() {
    let stage = Stage::new().await;
    let killed = killed_rename(&stage, &RENAME[..2], Fate::Done).await;
    killed.assert_has(&stage, &killed.new, &killed.former).await;
    killed_rename(&stage, &RENAME[..2], Fate::Done).await.assert_repeatable(&stage).await;
}

#[tokio::test]
async fn a_rename_killed_at_its_confirmation_has_the_new_name() {
    let stage = Stage::new().await;
    for fate in FATES {
        let killed = killed_rename(&stage, &RENAME[..3], fate).await;
        killed.assert_has(&stage, &killed.new, &killed.former).await;
    }
}

#[tokio::test]
async fn a_rename_killed_at_the_release_of_the_former_name_has_the_new_one() {
    let stage = Stage::new().await;
    for fate in FATES {
        let killed = killed_rename(&stage, &RENAME, fate).await;
        killed.assert_has(&stage, &killed.new, &killed.former).await;
    }
}
