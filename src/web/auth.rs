//! Tokens of requests, and the throttling of wrong operator tokens.

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

/// Returns the bearer token of a request. Several `Authorization` headers are ambiguous and all ignored.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// Returns the session token that a request presents. The token is parsed but not verified.
pub fn claimed_token(headers: &HeaderMap) -> Option<Token> {
    bearer(headers).or_else(|| cookie::token(headers)).and_then(Token::parse_session)
}

/// Charges a wrong token at an operator endpoint to its address, and returns the problem to respond with.
pub fn wrong_operator_token(guesses: &GuessLimiter, address: Option<IpAddr>) -> Problem {
    charge_guess(guesses, address).err().unwrap_or(ProblemKind::OperatorOnly.into())
}

/// Records a wrong operator token in the audit log and charges it to its address.
///
/// # Errors
/// 429 if the address has sent too many.
pub fn charge_guess(guesses: &GuessLimiter, address: Option<IpAddr>) -> Result<(), Problem> {
    audit::record(audit::Kind::OperatorRefused, None, Actor::Anonymous, address);
    let charged = guesses.charge(address, Instant::now());
    charged.map_err(|after| Problem::from(ProblemKind::TooManyAttempts).retry_after(after))
}
