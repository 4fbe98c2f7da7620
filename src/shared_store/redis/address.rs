//! Where Redis is: what a URL says.

use fred::types::config::Config;

/// The schemes, and what they are without TLS.
const SCHEMES: [(&str, &str, bool); 6] = [
    ("redis", "redis", false),
    ("redis-cluster", "redis-cluster", false),
    ("redis-sentinel", "redis-sentinel", false),
    ("rediss", "redis", true),
    ("rediss-cluster", "redis-cluster", true),
    ("rediss-sentinel", "redis-sentinel", true),
];

/// A URL that is not Redis'.
#[derive(Debug, thiserror::Error)]
#[error(
    "is not a Redis URL, such as redis://host:6379, redis-cluster://host:7000 or redis-sentinel://host:26379?sentinelServiceName=main; with TLS: rediss://, rediss-cluster:// or rediss-sentinel://"
)]
pub struct InvalidUrl;

/// Servers, credentials, and whether TLS is asked for.
#[derive(Debug)]
pub struct RedisAddress {
    pub(super) config: Config,
    pub(super) tls: bool,
}

impl RedisAddress {
    /// What `url` says.
    ///
    /// # Errors
    /// [`InvalidUrl`] for one that can't be read, or of another scheme: none is connected to without TLS by mistake.
    pub fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl)?;
        let &(_, plain, tls) = SCHEMES.iter().find(|(known, ..)| *known == scheme).ok_or(InvalidUrl)?;
        // Of a URL with TLS fred would make a configuration of its own, from the system's store of CAs.
        let config = Config::from_url(&format!("{plain}://{rest}")).map_err(|_| InvalidUrl)?;
        Ok(Self { config: Config { fail_fast: false, ..config }, tls })
    }

    /// Whether TLS is asked for.
    pub fn has_tls(&self) -> bool {
        self.tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_what_is_there_and_whether_it_is_encrypted() {
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
    fn other_schemes_are_refused() {
        for url in ["http://host", "redis:host", "redisss://host", "REDISS://host", "rediss-other://host", "redis://"] {
            assert!(RedisAddress::parse(url).is_err(), "{url}");
        }
    }
}
