//! Session cookies of browsers, and the protection against cross-site requests.
//!
//! A browser sends cookies with requests from pages of any origin. Therefore unsafe requests that rely on a cookie must come
//! from a page of the service's own origin. So must a login that requests a cookie, because otherwise another site could log
//! the browser into an attacker's account. The origin is taken from `Origin` and `Sec-Fetch-Site`, which pages can't forge; a
//! request without both is rejected. `SameSite=Lax` is a second line of defence. The `__Host-` prefix prevents other hosts of
//! the domain from setting the cookie (RFC 6265bis).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use cookie::{Cookie, CookieBuilder, SameSite};

use super::problem::{Problem, ProblemKind};
use crate::config::PublicOrigin;

pub(crate) const NAME: &str = "__Host-symbolon";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns the session token in the session cookie. Several such cookies are ambiguous and all ignored.
pub fn token(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(name, value)| (name == NAME).then_some(value));
    match (values.next(), values.next()) {
        (Some(token), None) => Some(token),
        _ => None,
    }
}

/// Returns the `Set-Cookie` header that sets the session cookie.
pub(crate) fn set(token: &str, lifetime: std::time::Duration) -> Option<HeaderValue> {
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    value(Cookie::build((NAME, token)).max_age(cookie::time::Duration::seconds(seconds)))
}

/// Returns the `Set-Cookie` header that removes the session cookie.
pub(crate) fn removal() -> Option<HeaderValue> {
    value(Cookie::build((NAME, "")).max_age(cookie::time::Duration::ZERO))
}

fn value(cookie: CookieBuilder<'_>) -> Option<HeaderValue> {
    let cookie = cookie.path("/").http_only(true).secure(true).same_site(SameSite::Lax);
    HeaderValue::try_from(cookie.build().to_string()).ok()
}

/// Checks that a request was made by a page of the origin `own`.
///
/// # Errors
/// `cross-site` if it was not, or if it has neither `Origin` nor `Sec-Fetch-Site`.
pub(crate) fn check_origin(headers: &HeaderMap, own: &PublicOrigin) -> Result<(), Problem> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let is_own = |value: &HeaderValue| own.is(value.as_bytes());
    let is_same = |value: &HeaderValue| value.as_bytes() == b"same-origin";
    let has_either = headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    if has_either && origins.all(is_own) && sites.all(is_same) { Ok(()) } else { Err(ProblemKind::CrossSite.into()) }
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
    fn only_requests_from_the_own_origin_are_accepted() {
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
    fn the_token_is_read_from_a_unique_session_cookie() {
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
    fn the_cookie_is_restricted_to_this_host_and_hidden_from_scripts() {
        let set = set("sym_x", std::time::Duration::from_secs(60)).expect("a header");
        assert_eq!(set, "__Host-symbolon=sym_x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        let removal = removal().expect("a header");
        assert_eq!(removal, "__Host-symbolon=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
    }
}
