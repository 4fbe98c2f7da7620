//! URLs of Redis.

use fred::types::config::Config;

/// Schemes, the same without TLS, and whether they use TLS.
const SCHEMES: [(&str, &str, bool); 6] = [
    ("redis", "redis", false),
    ("redis-cluster", "redis-cluster", false),
    ("redis-sentinel", "redis-sentinel", false),
    ("rediss", "redis", true),
    ("rediss-cluster", "redis-cluster", true),
    ("rediss-sentinel", "redis-sentinel", true),
];

/// Not a URL of Redis.
#[derive(Debug, thiserror::Error)]
#[error(
    "is not a Redis URL, such as redis://host:6379, redis-cluster://host:7000 or redis-sentinel://host:26379?sentinelServiceName=main; with TLS: rediss://, rediss-cluster:// or rediss-sentinel://"
)]
pub struct InvalidUrl;

/// Servers, credentials, and whether to use TLS.
#[derive(Debug)]
pub struct RedisAddress {
    pub(super) config: Config,
    pub(super) tls: bool,
}

impl RedisAddress {
    /// Parses a URL.
    ///
    /// # Errors
    /// Returns [`InvalidUrl`] for a malformed URL and for unknown schemes, so that a typo never disables TLS.
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl)?;
        let &(_, plain, tls) = SCHEMES.iter().find(|(known, ..)| *known == scheme).ok_or(InvalidUrl)?;
        // Given a URL with TLS, fred would build its own TLS configuration with the system's CAs.
        let config = Config::from_url(&format!("{plain}://{rest}")).map_err(|_| InvalidUrl)?;
        Ok(Self { config: Config { fail_fast: false, ..config }, tls })
    }

    pub fn has_tls(&self) -> bool {
        self.tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_selects_the_kind_of_server_and_tls() {
        for (scheme, clustered, sentinel) in
            [("redis", false, false), ("redis-cluster", true, false), ("redis-sentinel", false, true)]
        {
            let rest = "://u:p%40ss@host:7000?sentinelServiceName=main";
            for (url, tls) in
                [(format!("{scheme}{rest}"), false), (format!("{}{rest}", scheme.replacen("redis", "rediss", 1)), true)]
            {
                let address = RedisAddress::parse(&url).expect("a URL");
                assert_eq!(address.has_tls(), tls, "{url}");
                let server = &address.config.server;
                assert_eq!((server.is_clustered(), server.is_sentinel()), (clustered, sentinel), "{url}");
                assert_eq!(address.config.password.as_deref(), Some("p@ss"));
            }
        }
    }

    #[test]
    fn other_schemes_are_rejected() {
        for url in ["http://host", "redis:host", "redisss://host", "REDISS://host", "rediss-other://host", "redis://"] {
            assert!(RedisAddress::parse(url).is_err(), "{url}");
        }
    }
}
