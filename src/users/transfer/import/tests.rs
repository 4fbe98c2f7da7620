use std::sync::Arc;

use symbolon_partitioner::{PartitionerSpec, Strategy};

use super::*;
use crate::{
    shards::{ShardStore, sqlite::SqliteShard},
    topology::Topology,
    users::transfer::Export,
};

const IDS: [&str; 3] = ["a", "b", "c"];

struct Stage {
    shards: Shards,
    _directory: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut stores: Vec<(String, Arc<dyn ShardStore>)> = Vec::new();
        for id in IDS {
            let shard = SqliteShard::open(id, &directory.path().join(id), 1).await.expect("a shard");
            stores.push((id.to_owned(), Arc::new(shard)));
        }
        let shards = Shards::new(stores);
        let placement = PartitionerSpec::new(Strategy::ConsistentHash, IDS);
        shards.adopt(&Topology { epoch: 1, placement }).expect("a topology");
        Self { shards, _directory: directory }
    }

    async fn add(&self, batch: &[Candidate]) -> Outcome {
        Import::new(self.shards.clone()).add(batch).await.expect("an import")
    }

    /// Login names and ids of all users, by name.
    async fn users(&self) -> Vec<(String, UserId)> {
        let mut export = Export::new(&self.shards, None).expect("an export");
        let mut users = Vec::new();
        loop {
            let page = export.next().await.expect("a page");
            if page.is_empty() {
                users.sort();
                return users;
            }
            users.extend(page.into_iter().map(|user| (user.login_name.to_string(), user.user_id)));
        }
    }

    /// Whether the name's claim names this user.
    async fn answers(&self, login_name: &str) -> Option<UserId> {
        let name = LoginName::parse(login_name).expect("a name");
        names::find(&self.shards, &name).await.expect("an answer").map(|user| user.user_id)
    }

    /// Does what an import does before it breaks off.
    async fn claim_only(&self, candidate: &Candidate) -> Claim {
        let claim = names::claim_of_import(&candidate.user.login_name, candidate.user.user_id);
        let home = self.shards.shard_for_name(&claim.login_name).expect("a home");
        home.claim_name(home.epoch, &claim).await.expect("a claim");
        claim
    }
}

fn candidate(line: u64, login_name: &str) -> Candidate {
    let text = format!(r#"{{"login_name":"{login_name}","profile":{{"name":"N","email":"n@example.com"}}}}"#);
    Candidate::parse(line, text.as_bytes()).expect("a candidate")
}

fn with_id(candidate: Candidate, user_id: UserId) -> Candidate {
    Candidate { user: User { user_id, ..candidate.user }, has_own_id: true, ..candidate }
}

fn counts(outcome: &Outcome) -> (u64, u64, Vec<u64>) {
    let mut lines: Vec<u64> = outcome.rejected.iter().map(|one| one.line).collect();
    lines.sort_unstable();
    (outcome.imported, outcome.already_there, lines)
}

#[tokio::test]
async fn a_batch_goes_in_and_changes_nothing_when_it_is_repeated() {
    let stage = Stage::new().await;
    let batch: Vec<Candidate> = (0..200).map(|number| candidate(number, &format!("user-{number}"))).collect();
    assert_eq!(counts(&stage.add(&batch).await), (200, 0, vec![]));
    let users = stage.users().await;
    assert_eq!(users.len(), 200);
    for (name, user_id) in &users {
        assert_eq!(stage.answers(name).await, Some(*user_id));
    }
    let again: Vec<Candidate> = (0..200).map(|number| candidate(number, &format!("user-{number}"))).collect();
    assert_eq!(counts(&stage.add(&again).await), (0, 200, vec![]));
    assert_eq!(stage.users().await, users);
}

#[tokio::test]
async fn an_import_that_broke_off_after_its_claims_is_made_whole_by_the_next() {
    let stage = Stage::new().await;
    let broken = candidate(1, "ada");
    stage.claim_only(&broken).await;
    assert_eq!(stage.answers("ada").await, None);
    assert_eq!(counts(&stage.add(&[candidate(1, "ada")]).await), (1, 0, vec![]));
    assert_eq!(stage.answers("ada").await, Some(broken.user.user_id));
}

#[tokio::test]
async fn imports_side_by_side_make_each_user_once() {
    let stage = Stage::new().await;
    let batch = || (0..100).map(|number| candidate(number, &format!("user-{number}"))).collect::<Vec<_>>();
    let batches = [batch(), batch(), batch()];
    let outcomes = futures_util::future::join_all(batches.iter().map(|batch| stage.add(batch))).await;
    let again = stage.add(&batch()).await;
    // Whoever meets a name in the hands of another import may leave it to that.
    let left = outcomes.iter().flat_map(|outcome| &outcome.rejected).map(Rejection::to_string);
    assert!(left.into_iter().all(|rejection| rejection.contains("is being taken")), "{outcomes:?}");
    assert_eq!(outcomes.iter().chain([&again]).map(|outcome| outcome.imported).sum::<u64>(), 100);
    assert_eq!(again.rejected, []);
    assert_eq!(stage.users().await.len(), 100);
}

#[tokio::test]
async fn a_name_or_an_id_of_another_user_is_rejected() {
    let stage = Stage::new().await;
    let (ada, eve) = (UserId::generate(), UserId::generate());
    stage.add(&[with_id(candidate(1, "ada"), ada), with_id(candidate(2, "eve"), eve)]).await;
    let batch = [
        with_id(candidate(1, "ada"), ada),
        with_id(candidate(2, "ada"), UserId::generate()),
        with_id(candidate(3, "zoe"), eve),
        candidate(4, "eve"),
    ];
    assert_eq!(counts(&stage.add(&batch).await), (0, 2, vec![2, 3]));
    assert_eq!(stage.answers("zoe").await, None);
    assert_eq!(counts(&stage.add(&[candidate(5, "zoe")]).await), (1, 0, vec![]), "the name was given up");
}

#[tokio::test]
async fn of_equal_lines_in_a_batch_one_goes_in() {
    let stage = Stage::new().await;
    let id = UserId::generate();
    let batch = [
        with_id(candidate(1, "ada"), id),
        candidate(2, "ADA"),
        with_id(candidate(3, "eve"), id),
        with_id(candidate(4, "ada"), UserId::generate()),
    ];
    assert_eq!(counts(&stage.add(&batch).await), (1, 1, vec![3, 4]));
    assert_eq!(stage.answers("eve").await, None);
    assert_eq!(stage.users().await, [("ada".to_owned(), id)]);
}

#[tokio::test]
async fn a_line_whose_twin_was_rejected_goes_in() {
    let stage = Stage::new().await;
    let taken = UserId::generate();
    stage.add(&[with_id(candidate(1, "bob"), taken)]).await;
    let batch = [with_id(candidate(1, "ada"), taken), candidate(2, "ada")];
    assert_eq!(counts(&stage.add(&batch).await), (1, 0, vec![1]));
    assert!(stage.answers("ada").await.is_some());
}

#[tokio::test]
async fn a_late_release_of_the_claim_that_an_import_goes_on_with_changes_nothing() {
    let stage = Stage::new().await;
    let broken = candidate(1, "ada");
    let claim = stage.claim_only(&broken).await;
    stage.add(&[candidate(1, "ada")]).await;
    names::release(&stage.shards, &claim).await;
    assert_eq!(stage.answers("ada").await, Some(broken.user.user_id));
}

#[tokio::test]
async fn a_name_that_a_registration_is_taking_is_left_to_it() {
    let stage = Stage::new().await;
    let name = LoginName::parse("ada").expect("a name");
    let registering = names::claim(&stage.shards, &name, UserId::generate()).await;
    assert!(matches!(registering, Ok(Claimed::Ours(_))));
    let outcome = stage.add(&[candidate(1, "ada"), candidate(2, "eve")]).await;
    assert_eq!(counts(&outcome), (1, 0, vec![1]));
    assert_eq!(outcome.rejected[0].to_string(), "line 1: login_name is being taken: import again in a minute");
}

#[tokio::test]
async fn an_export_goes_on_after_the_user_that_it_gave_last() {
    let stage = Stage::new().await;
    stage.add(&(0..50).map(|number| candidate(number, &format!("user-{number}"))).collect::<Vec<_>>()).await;
    let mut all = Vec::new();
    let mut whole = Export::new(&stage.shards, None).expect("an export");
    loop {
        let page = whole.next().await.expect("a page");
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    for given in [1, 20, 49] {
        let mut rest = Export::new(&stage.shards, Some(all[given - 1].user_id)).expect("an export");
        let mut found = Vec::new();
        loop {
            let page = rest.next().await.expect("a page");
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, all[given..]);
    }
}
