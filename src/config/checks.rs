//! Bounds of settings, and rules between them.

use std::time::Duration;

use symbolon_partitioner::MAX_WEIGHT;

use super::{ConfigError, RedisUrl, Settings};
use crate::tuner::EMBEDDED_KNOBS;

/// Larger batches make queries no cheaper, and all lookups of a batch wait for the slowest.
const MOST_BATCH_SIZE: u32 = 1000;

impl Settings {
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        let mut errors = Vec::new();
        let mut require = |holds: bool, message: &str| {
            if !holds {
                errors.push(message.to_owned());
            }
        };
        let second = Duration::from_secs(1);
        require(self.session_idle_timeout >= second, "session_idle_timeout: must be at least 1s");
        require(self.session_lifetime >= self.session_idle_timeout, "session_lifetime: must be at least session_idle");
        require(self.session_limit >= 1, "session_limit: must be at least 1");
        require(self.shard_connections >= 1, "shard_connections: must be at least 1");
        require(
            (Duration::from_millis(100)..=self.request_timeout).contains(&self.shard_timeout),
            "shard_timeout: must be from 100ms to request_timeout",
        );
        require(self.shard_batches >= 1, "shard_batches: must be at least 1");
        require(
            (1..=MOST_BATCH_SIZE).contains(&self.shard_batch_size),
            &format!("shard_batch_size: must be from 1 to {MOST_BATCH_SIZE}"),
        );
        require(self.session_batches >= 1, "session_batches: must be at least 1");
        require(
            (1..=MOST_BATCH_SIZE).contains(&self.session_batch_size),
            &format!("session_batch_size: must be from 1 to {MOST_BATCH_SIZE}"),
        );
        require(!self.topology_poll.is_zero(), "topology_poll: must be more than 0");
        require(
            self.catalog_url.is_none() || !self.shards.0.is_empty(),
            "catalog_url: belongs to shards, and shards is not set",
        );
        require(
            self.redis_ca_file.is_none() || self.redis_url.as_ref().is_some_and(RedisUrl::has_tls),
            "redis_ca_file: belongs to a redis_url with TLS, such as rediss://host",
        );
        require(
            self.redis_wait_replicas == 0 || self.redis_url.is_some(),
            "redis_wait_replicas: belongs to redis_url, and redis_url is not set",
        );
        require((1..=MAX_WEIGHT).contains(&self.weight), &format!("weight: must be from 1 to {MAX_WEIGHT}"));
        require(self.max_connections >= 1, "max_connections: must be at least 1");
        require(self.max_open_connections != Some(0), "max_open_connections: must be at least 1");
        require(self.concurrency_min >= 1, "concurrency_min: must be at least 1");
        require(self.concurrency_max >= self.concurrency_min, "concurrency_max: must be at least concurrency_min");
        require(!self.request_timeout.is_zero(), "request_timeout: must be more than 0");
        require(!self.header_timeout.is_zero(), "header_timeout: must be more than 0");
        require(
            !self.body_timeout.is_zero() && self.body_timeout < self.request_timeout,
            "body_timeout: must be more than 0 and less than request_timeout",
        );
        require(!self.hash_queue_timeout.is_zero(), "hash_queue_timeout: must be more than 0");
        require(self.hash_threads <= 1024, "hash_threads: must be at most 1024");
        for (name, duration) in [
            ("send_timeout", self.send_timeout),
            ("http2_idle_timeout", self.http2_idle_timeout),
            ("gateway_timeout", self.gateway_timeout),
            ("gateway_connect_timeout", self.gateway_connect_timeout),
            ("gateway_idle_timeout", self.gateway_idle_timeout),
            ("health_check_timeout", self.health_check_timeout),
        ] {
            require(!duration.is_zero(), &format!("{name}: must be more than 0"));
        }
        require(
            self.health_check_interval >= Duration::from_millis(10),
            "health_check_interval: must be at least 10ms",
        );
        require(self.health_check_fall >= 1, "health_check_fall: must be at least 1");
        require(self.health_check_rise >= 1, "health_check_rise: must be at least 1");
        require(self.gateway_retry_percent <= 100, "gateway_retry_percent: must be at most 100");
        require(self.monitor_interval >= second, "monitor_interval: must be at least 1s");
        require(
            (second..=second * 3600).contains(&self.tuner_interval) && self.tuner_interval >= self.monitor_interval,
            "tuner_interval: must be from 1s to 1h, and not less than monitor_interval",
        );
        require(
            1 <= self.scaling_min && self.scaling_min <= self.scaling_max && self.scaling_max <= 10_000,
            "scaling_min, scaling_max: must be at least 1 and at most 10000, and scaling_min not above scaling_max",
        );
        require((1..=100).contains(&self.scaling_target), "scaling_target: must be from 1 to 100");
        require(
            self.scaling_startup.is_none_or(|startup| startup <= second * 3600)
                && self.scaling_cooldown <= second * 86_400,
            "scaling_startup, scaling_cooldown: must be at most 1h and 24h",
        );
        require(self.body_limit >= 1024, "body_limit: must be at least 1024");
        require(
            self.operator_listen.is_none_or(|operator| operator != self.listen || operator.port() == 0),
            "operator_listen: must differ from listen",
        );
        if let Some(origin) = self.cors_origins.0.iter().find(|origin| !self.is_origin(origin)) {
            errors
                .push(format!("cors_origins: {origin:?} must be an origin such as https://example.com, or a single *"));
        }
        for rule in &self.tuner_rules.0 {
            let embedded_only = |knob: &&String| !self.is_embedded() && EMBEDDED_KNOBS.contains(&knob.as_str());
            if let Some(knob) = rule.knobs.iter().find(embedded_only) {
                errors.push(format!("tuner_rules: {knob} is a knob of embedded storage"));
            }
        }
        if let Err(error) = self.placement_spec().validate_for_text_keys() {
            errors.push(format!("strategy, split_points, pins: {error}"));
        }
        if let Err(error) =
            crate::passwords::check_parameters(self.argon2_memory_kib, self.argon2_iterations, self.argon2_parallelism)
        {
            errors.push(format!("argon2_memory_kib, argon2_iterations, argon2_parallelism: {error}"));
        }
        if let Err(error) = crate::log::check(&self.log) {
            errors.push(format!("log: {error}"));
        }
        if errors.is_empty() { Ok(self) } else { Err(ConfigError(errors)) }
    }

    fn is_origin(&self, text: &str) -> bool {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        (text == "*" && self.cors_origins.0.len() == 1)
            || host.is_some_and(|host| {
                !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
            })
    }
}
