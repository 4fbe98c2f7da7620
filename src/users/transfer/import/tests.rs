use std::sync::Arc;

use symbolon_partitioner::{PartitionerSpec, Strategy};

use super::*;
use crate::{
    shards::{ShardStore, sqlite::SqliteShard},
    topology::Topology,
    users::transfer::Export,
};

const IDS: [&str; 3] = ["a", "b", "c"];

struct Fixture {
    shards: Shards,
    _directory: tempfile::TempDir,
}

impl Fixture {
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

    async fn add(&self, batch: &[ImportCandidate]) -> ImportOutcome {
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

    /// Returns the user that has a name.
    async fn owner(&self, login_name: &str) -> Option<UserId> {
        let name = LoginName::parse(login_name).expect("a name");
        names::find(&self.shards, &name).await.expect("an answer").map(|user| user.user_id)
    }

    /// Makes the claim of an import that is interrupted before it inserts the user.
    async fn claim_only(&self, candidate: &ImportCandidate) -> Claim {
        let claim = names::new_import_claim(&candidate.user.login_name, candidate.user.user_id);
        let home = self.shards.shard_for_name(&claim.login_name).expect("a home");
        home.claim_name(home.epoch, &claim).await.expect("a claim");
        claim
    }
}

fn candidate(line: u64, login_name: &str) -> ImportCandidate {
    let text = format!(r#"{{"login_name":"{login_name}","profile":{{"name":"N","email":"n@example.com"}}}}"#);
    ImportCandidate::parse(line, text.as_bytes()).expect("a candidate")
}

fn with_id(candidate: ImportCandidate, user_id: UserId) -> ImportCandidate {
    ImportCandidate { user: User { user_id, ..candidate.user }, has_own_id: true, ..candidate }
}

fn counts(outcome: &ImportOutcome) -> (u64, u64, Vec<u64>) {
    let mut lines: Vec<u64> = outcome.rejected.iter().map(|one| one.line).collect();
    lines.sort_unstable();
    (outcome.imported, outcome.already_there, lines)
}

#[tokio::test]
async fn repeating_an_import_changes_nothing() {
    let fixture = Fixture::new().await;
    let batch: Vec<ImportCandidate> = (0..200).map(|number| candidate(number, &format!("user-{number}"))).collect();
    assert_eq!(counts(&fixture.add(&batch).await), (200, 0, vec![]));
    let users = fixture.users().await;
    assert_eq!(users.len(), 200);
    for (name, user_id) in &users {
        assert_eq!(fixture.owner(name).await, Some(*user_id));
    }
    let again: Vec<ImportCandidate> = (0..200).map(|number| candidate(number, &format!("user-{number}"))).collect();
    assert_eq!(counts(&fixture.add(&again).await), (0, 200, vec![]));
    assert_eq!(fixture.users().await, users);
}

#[tokio::test]
async fn an_import_completes_an_interrupted_one() {
    let fixture = Fixture::new().await;
    let broken = candidate(1, "ada");
    fixture.claim_only(&broken).await;
    assert_eq!(fixture.owner("ada").await, None);
    assert_eq!(counts(&fixture.add(&[candidate(1, "ada")]).await), (1, 0, vec![]));
    assert_eq!(fixture.owner("ada").await, Some(broken.user.user_id));
}

#[tokio::test]
async fn concurrent_imports_create_each_user_once() {
    let fixture = Fixture::new().await;
    let batch = || (0..100).map(|number| candidate(number, &format!("user-{number}"))).collect::<Vec<_>>();
    let batches = [batch(), batch(), batch()];
    let outcomes = futures_util::future::join_all(batches.iter().map(|batch| fixture.add(batch))).await;
    let again = fixture.add(&batch()).await;
    // An import may reject a name that another import is claiming.
    let left = outcomes.iter().flat_map(|outcome| &outcome.rejected).map(Rejection::to_string);
    assert!(left.into_iter().all(|rejection| rejection.contains("is being claimed")), "{outcomes:?}");
    assert_eq!(outcomes.iter().chain([&again]).map(|outcome| outcome.imported).sum::<u64>(), 100);
    assert_eq!(again.rejected, []);
    assert_eq!(fixture.users().await.len(), 100);
}

#[tokio::test]
async fn a_name_or_an_id_of_another_user_is_rejected() {
    let fixture = Fixture::new().await;
    let (ada, eve) = (UserId::generate(), UserId::generate());
    fixture.add(&[with_id(candidate(1, "ada"), ada), with_id(candidate(2, "eve"), eve)]).await;
    let batch = [
        with_id(candidate(1, "ada"), ada),
        with_id(candidate(2, "ada"), UserId::generate()),
        with_id(candidate(3, "zoe"), eve),
        candidate(4, "eve"),
    ];
    assert_eq!(counts(&fixture.add(&batch).await), (0, 2, vec![2, 3]));
    assert_eq!(fixture.owner("zoe").await, None);
    assert_eq!(counts(&fixture.add(&[candidate(5, "zoe")]).await), (1, 0, vec![]), "the name was released");
}

#[tokio::test]
async fn one_of_several_lines_with_the_same_name_is_imported() {
    let fixture = Fixture::new().await;
    let id = UserId::generate();
    let batch = [
        with_id(candidate(1, "ada"), id),
        candidate(2, "ADA"),
        with_id(candidate(3, "eve"), id),
        with_id(candidate(4, "ada"), UserId::generate()),
    ];
    assert_eq!(counts(&fixture.add(&batch).await), (1, 1, vec![3, 4]));
    assert_eq!(fixture.owner("eve").await, None);
    assert_eq!(fixture.users().await, [("ada".to_owned(), id)]);
}

#[tokio::test]
async fn a_line_is_imported_if_an_earlier_one_with_its_name_was_rejected() {
    let fixture = Fixture::new().await;
    let taken = UserId::generate();
    fixture.add(&[with_id(candidate(1, "bob"), taken)]).await;
    let batch = [with_id(candidate(1, "ada"), taken), candidate(2, "ada")];
    assert_eq!(counts(&fixture.add(&batch).await), (1, 0, vec![1]));
    assert!(fixture.owner("ada").await.is_some());
}

#[tokio::test]
async fn a_late_release_does_not_affect_a_renewed_claim() {
    let fixture = Fixture::new().await;
    let broken = candidate(1, "ada");
    let claim = fixture.claim_only(&broken).await;
    fixture.add(&[candidate(1, "ada")]).await;
    names::release(&fixture.shards, &claim).await;
    assert_eq!(fixture.owner("ada").await, Some(broken.user.user_id));
}

#[tokio::test]
async fn an_import_rejects_a_name_that_a_registration_is_claiming() {
    let fixture = Fixture::new().await;
    let name = LoginName::parse("ada").expect("a name");
    let registering = names::claim(&fixture.shards, &name, UserId::generate()).await;
    assert!(matches!(registering, Ok(ClaimOutcome::Acquired(_))));
    let outcome = fixture.add(&[candidate(1, "ada"), candidate(2, "eve")]).await;
    assert_eq!(counts(&outcome), (1, 0, vec![1]));
    assert_eq!(
        outcome.rejected[0].to_string(),
        "line 1: login_name is being claimed by another request: import again in a minute"
    );
}

#[tokio::test]
async fn an_export_resumes_after_its_last_user() {
    let fixture = Fixture::new().await;
    fixture.add(&(0..50).map(|number| candidate(number, &format!("user-{number}"))).collect::<Vec<_>>()).await;
    let mut all = Vec::new();
    let mut whole = Export::new(&fixture.shards, None).expect("an export");
    loop {
        let page = whole.next().await.expect("a page");
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    for given in [1, 20, 49] {
        let mut rest = Export::new(&fixture.shards, Some(all[given - 1].user_id)).expect("an export");
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
