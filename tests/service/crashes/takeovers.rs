//! Takeovers of login names that a killed instance had claimed.

use super::{
    INSERT_USER, NAME, NEW_NAME, RENAME, USER, killed_rename, registering,
    stage::Stage,
    steps::{FATES, Fate, Orphan, Step},
};

/// A name with a claim for a user on `shard` whose row was not inserted.
async fn claimed_for_a_user_on(stage: &Stage, shard: usize) -> String {
    let elsewhere: Vec<Step> = (0..3).filter(|other| *other != NAME).map(Step::Insert).collect();
    loop {
        let name = stage.name_on(NAME).await;
        if stage.crash_at(registering(&name), &[&[Step::Insert(NAME)], &elsewhere], Fate::Lost).await.is_none() {
            continue;
        }
        let user = stage.psql(NAME, &format!("SELECT user_id FROM login_names WHERE login_name = '{name}'"));
        if stage.shard_of_key(&user).await == shard {
            stage.age_claims();
            return name;
        }
    }
}

#[tokio::test]
async fn a_killed_takeover_of_a_registrations_name_is_continued_by_the_next() {
    let stage = Stage::new().await;
    // A takeover voids the first registration's row, then replaces its claim.
    let steps: [&[Step]; 3] = [&[Step::Insert(NAME)], &[Step::Insert(USER)], &[Step::Claim(NAME)]];
    for killed_at in [2, 3] {
        for fate in FATES {
            let name = claimed_for_a_user_on(&stage, USER).await;
            stage.crash_at(registering(&name), &steps[..killed_at], fate).await.expect("the request reaches the step");
            stage.age_claims();
            stage.assert_free(&name).await;
        }
    }
}

#[tokio::test]
async fn a_killed_takeover_of_a_renames_name_is_continued_by_the_next() {
    let stage = Stage::new().await;
    // A takeover finds the user's row, raises its version, then replaces its claim.
    let steps: [&[Step]; 4] =
        [&[Step::Insert(NEW_NAME)], &[Step::Insert(USER)], &[Step::User(USER)], &[Step::Claim(NEW_NAME)]];
    for killed_at in [2, 3, 4] {
        for fate in FATES {
            let renamed = killed_rename(&stage, &RENAME[..2], Fate::Lost).await;
            stage.age_claims();
            let taking = registering(&renamed.new);
            stage.crash_at(taking, &steps[..killed_at], fate).await.expect("the request reaches the step");
            stage.age_claims();
            renamed.assert_has(&stage, &renamed.former, &renamed.new).await;
        }
    }
}

/// Makes two concurrent registrations of a name; returns the ids of the users of those that succeed.
async fn race_for(stage: &Stage, name: &str) -> Vec<String> {
    let other = stage.instance().await;
    let racers = [&stage.service, &other].map(|service| registering(name)(service).send());
    let replies = futures_util::future::join_all(racers).await;
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.assert_name_refused();
    }
    let succeeded = replies.iter().filter(|reply| reply.status == 201);
    succeeded.map(|reply| reply.string("user_id")).collect()
}

async fn suspended_registration(stage: &Stage) -> (String, Orphan) {
    loop {
        let name = stage.name_on(NAME).await;
        let steps: &[&[Step]] = &[&[Step::Insert(NAME)], INSERT_USER];
        if let Some(orphan) = stage.kill_at(registering(&name), steps).await {
            return (name, stage.suspend_orphan(orphan));
        }
    }
}

#[tokio::test]
async fn a_delayed_insert_after_a_takeover_fails() {
    let stage = Stage::new().await;
    let (name, orphan) = suspended_registration(&stage).await;
    stage.age_claims();
    let winners = race_for(&stage, &name).await;
    assert_eq!(winners.len(), 1, "{winners:?}");
    stage.resume_orphan(orphan).await;
    assert_eq!(stage.answers_to(&name).await.as_ref(), winners.first());
}

#[tokio::test]
async fn a_delayed_insert_before_a_takeover_keeps_its_name() {
    let stage = Stage::new().await;
    let (name, orphan) = suspended_registration(&stage).await;
    stage.age_claims();
    stage.resume_orphan(orphan).await;
    let user = stage.answers_to(&name).await;
    assert!(user.is_some());
    assert_eq!(race_for(&stage, &name).await, [] as [String; 0]);
    assert_eq!(stage.answers_to(&name).await, user);
}
