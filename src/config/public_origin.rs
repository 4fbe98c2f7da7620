use super::SettingValue;

/// The origin of the pages that may use cookies, as browsers write it (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicOrigin(String);

impl PublicOrigin {
    /// Whether a browser's `Origin` is this one.
    pub fn is(&self, origin: &[u8]) -> bool {
        origin == self.0.as_bytes()
    }
}

impl SettingValue for PublicOrigin {
    fn from_text(text: &str) -> Result<Self, String> {
        let refusal =
            "must be an origin that browsers trust, such as https://login.example.com (http only for localhost)";
        let uri: http::Uri = text.parse().map_err(|_| refusal)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(refusal.into()) };
        let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&authority.host());
        let is_bare =
            uri.path() == "/" && uri.query().is_none() && !text.ends_with('/') && !authority.as_str().contains('@');
        if !is_bare || !(scheme == "https" || scheme == "http" && is_local) {
            return Err(refusal.into());
        }
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        let host = authority.as_str().to_ascii_lowercase();
        Ok(Self(format!("{scheme}://{}", host.strip_suffix(default_port).unwrap_or(&host))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_that_browsers_keep_secrets_for() {
        let origin = |text: &str| PublicOrigin::from_text(text).map(|origin| origin.0);
        assert_eq!(origin("https://Login.Example.com:443").as_deref(), Ok("https://login.example.com"));
        assert_eq!(origin("https://a.example:8443").as_deref(), Ok("https://a.example:8443"));
        assert_eq!(origin("http://localhost:8080").as_deref(), Ok("http://localhost:8080"));
        for wrong in
            ["http://a.example", "a.example", "https://a.example/", "https://a.example/x", "https://u@a.example", "*"]
        {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
