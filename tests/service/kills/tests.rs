//! Tests of the ledger itself.

use reqwest::StatusCode;

use super::ledger::{Account, Life, Outcome, Recorded, Session};

#[test]
fn a_lost_acknowledged_value_is_reported() {
    let mut value = Recorded::new(1);
    value.write(2, Outcome::Acknowledged);
    assert!(value.compare("it", &1).is_err());
    assert_eq!(value.compare("it", &2), Ok(false));
}

#[test]
fn an_unanswered_write_may_take_effect_late_but_not_be_undone() {
    let mut value = Recorded::new(1);
    value.write(2, Outcome::Unknown);
    assert_eq!(value.compare("it", &1), Ok(false));
    assert_eq!(value.compare("it", &2), Ok(true));
    assert!(value.compare("it", &1).is_err());
    assert!(value.compare("it", &3).is_err());
}

#[test]
fn an_unanswered_write_is_decided_once_a_later_one_was_acknowledged() {
    let mut value = Recorded::new(1);
    value.write(2, Outcome::Unknown);
    value.seal();
    assert_eq!(value.compare("it", &1), Ok(false));
    assert!(value.is_certain());
    assert!(value.compare("it", &2).is_err());
}

#[test]
fn an_acknowledged_end_of_sessions_spares_only_the_requesting_one() {
    let mut account = Account::new("ada".to_owned());
    let session = |token: &str| Session { token: token.to_owned(), life: Life::Live };
    account.sessions = vec![session("asking"), session("other")];
    account.end_sessions(Outcome::Unknown, Some("asking"));
    let [asking, other] = account.sessions.as_mut_slice() else { panic!("two sessions") };
    assert_eq!(other.compare(StatusCode::OK), Ok(false));
    assert_eq!(asking.compare(StatusCode::UNAUTHORIZED), Ok(true));
    assert!(asking.compare(StatusCode::OK).is_err(), "an ended session is alive");
    account.sessions = vec![session("asking"), session("other")];
    account.end_sessions(Outcome::Acknowledged, Some("asking"));
    let [asking, other] = account.sessions.as_mut_slice() else { panic!("two sessions") };
    assert!(asking.compare(StatusCode::UNAUTHORIZED).is_err());
    assert!(other.compare(StatusCode::OK).is_err());
}
