//! How a request names who calls, and what a wrong operator token costs.

use std::{net::IpAddr, time::Instant};

use axum::http::{HeaderMap, header};

use super::{
    cookie,
    problem::{Problem, ProblemKind},
};
use crate::{
    audit::{self, Actor},
    model::Token,
    throttle::GuessLimiter,
};

/// The one bearer token of a request. Two `Authorization` headers are ambiguous, and none counts.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// Returns the session token that a request shows, whether or not it opens a session.
pub fn claimed_token(headers: &HeaderMap) -> Option<Token> {
    bearer(headers).or_else(|| cookie::token(headers)).and_then(Token::parse_session)
}

/// Refuses a wrong token at an operator's endpoint, and charges it to its address.
pub fn wrong_operator_token(guesses: &GuessLimiter, address: Option<IpAddr>) -> Problem {
    charge_guess(guesses, address).err().unwrap_or(ProblemKind::OperatorOnly.into())
}

/// Charges a wrong operator token to its address.
///
/// # Errors
/// 429 if there were too many.
pub fn charge_guess(guesses: &GuessLimiter, address: Option<IpAddr>) -> Result<(), Problem> {
    audit::record(audit::Kind::OperatorRefused, None, Actor::Anonymous, address);
    let charged = guesses.charge(address, Instant::now());
    charged.map_err(|after| Problem::from(ProblemKind::TooManyAttempts).retry_after(after))
}
