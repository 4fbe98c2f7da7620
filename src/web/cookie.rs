//! Sessions of browsers, in a cookie instead of a token that scripts can read.
//!
//! A browser sends a cookie whoever made it send the request. So whatever relies on one and is not safe, and a login that
//! asks for one (else a stranger could log a browser into the stranger's account), must come from a page of our own:
//! `Origin` and `Sec-Fetch-Site`, which pages can't set, have to say so, and a request that has neither is refused.
//! `SameSite=Lax` is a second fence. The `__Host-` prefix keeps other hosts of the domain from setting it (RFC 6265bis).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use cookie::{Cookie, CookieBuilder, SameSite};

use super::problem::{Problem, ProblemKind};
use crate::config::PublicOrigin;

/// The cookie's name.
pub(crate) const NAME: &str = "__Host-symbolon";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The session token in the one cookie of ours. Two are ambiguous, and none counts.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ours = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(name, value)| (name == NAME).then_some(value));
    match (ours.next(), ours.next()) {
        (Some(token), None) => Some(token),
        _ => None,
    }
}

/// The header that gives a browser its session.
pub(crate) fn set(token: &str, lifetime: std::time::Duration) -> Option<HeaderValue> {
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    value(Cookie::build((NAME, token)).max_age(cookie::time::Duration::seconds(seconds)))
}

/// The header that takes it away.
pub(crate) fn removal() -> Option<HeaderValue> {
    value(Cookie::build((NAME, "")).max_age(cookie::time::Duration::ZERO))
}

fn value(cookie: CookieBuilder<'_>) -> Option<HeaderValue> {
    let cookie = cookie.path("/").http_only(true).secure(true).same_site(SameSite::Lax);
    HeaderValue::try_from(cookie.build().to_string()).ok()
}

/// Whether a request was made by a page of `own` origin.
///
/// # Errors
/// `cross-site` if it was not, or does not say.
pub(crate) fn check_origin(headers: &HeaderMap, own: &PublicOrigin) -> Result<(), Problem> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let is_own = |value: &HeaderValue| own.is(value.as_bytes());
    let is_same = |value: &HeaderValue| value.as_bytes() == b"same-origin";
    let said = headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    if said && origins.all(is_own) && sites.all(is_same) { Ok(()) } else { Err(ProblemKind::CrossSite.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SettingValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn only_pages_of_the_own_origin_pass() {
        let own = PublicOrigin::from_text("https://login.example.com").expect("an origin");
        let passes = |pairs: &[(&'static str, &str)]| check_origin(&headers(pairs), &own).is_ok();
        let (origin, site) = ("origin", "sec-fetch-site");
        assert!(passes(&[(origin, "https://login.example.com")]));
        assert!(passes(&[(site, "same-origin")]));
        assert!(passes(&[(origin, "https://login.example.com"), (site, "same-origin")]));
        assert!(!passes(&[]));
        for wrong in [
            "null",
            "",
            "http://login.example.com",
            "https://login.example.com.evil.com",
            "https://example.com",
            "https://login.example.com:8443",
            "https://login.example.com/",
        ] {
            assert!(!passes(&[(origin, wrong)]), "{wrong}");
            assert!(!passes(&[(origin, wrong), (site, "same-origin")]), "{wrong}");
        }
        for wrong in ["same-site", "cross-site", "none", "", "same-origin, cross-site"] {
            assert!(!passes(&[(site, wrong)]), "{wrong}");
            assert!(!passes(&[(origin, "https://login.example.com"), (site, wrong)]), "{wrong}");
        }
        assert!(!passes(&[(origin, "https://login.example.com"), (origin, "https://evil.com")]));
    }

    #[test]
    fn the_token_is_in_the_one_cookie_of_our_name() {
        let found = |lines: &[&str]| {
            let pairs: Vec<(&'static str, &str)> = lines.iter().map(|line| ("cookie", *line)).collect();
            token(&headers(&pairs)).map(str::to_owned)
        };
        assert_eq!(found(&["a=b; __Host-symbolon=sym_x; c=d"]).as_deref(), Some("sym_x"));
        assert_eq!(found(&["a=b", "__Host-symbolon=sym_x"]).as_deref(), Some("sym_x"));
        assert_eq!(found(&["__Host-symbolon=sym_x; __Host-symbolon=sym_y"]), None);
        assert_eq!(found(&["__Host-symbolon=sym_x", "__Host-symbolon=sym_y"]), None);
        assert_eq!(found(&["__host-symbolon=sym_x", "x__Host-symbolon=sym_y", "symbolon=z"]), None);
    }

    #[test]
    fn the_cookie_is_for_this_host_and_for_no_script() {
        let set = set("sym_x", std::time::Duration::from_secs(60)).expect("a header");
        assert_eq!(set, "__Host-symbolon=sym_x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        let removal = removal().expect("a header");
        assert_eq!(removal, "__Host-symbolon=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
    }
}
