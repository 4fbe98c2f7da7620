//! Changes of a login name.

use super::{
    RENAME, killed_rename,
    stage::Stage,
    steps::{FATES, Fate},
};

#[tokio::test]
async fn a_rename_killed_at_its_claim_keeps_the_former_name() {
    let stage = Stage::new().await;
    for fate in FATES {
        let killed = killed_rename(&stage, &RENAME[..1], fate).await;
        killed.assert_has(&stage, &killed.former, &killed.new).await;
        killed_rename(&stage, &RENAME[..1], fate).await.assert_repeatable(&stage).await;
    }
}

#[tokio::test]
async fn a_rename_killed_before_its_users_row_keeps_the_former_name() {
    let stage = Stage::new().await;
    let killed = killed_rename(&stage, &RENAME[..2], Fate::Lost).await;
    killed.assert_has(&stage, &killed.former, &killed.new).await;
    killed_rename(&stage, &RENAME[..2], Fate::Lost).await.assert_repeatable(&stage).await;
}

#[tokio::test]
async fn a_rename_killed_after_sending_its_users_row_has_the_new_name() {
    let stage = Stage::new().await;
    let killed = killed_rename(&stage, &RENAME[..2], Fate::Committed).await;
    killed.assert_has(&stage, &killed.new, &killed.former).await;
    killed_rename(&stage, &RENAME[..2], Fate::Committed).await.assert_repeatable(&stage).await;
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
