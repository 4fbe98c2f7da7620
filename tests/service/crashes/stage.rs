//! Three shards in three databases of one server, and assertions about login names on them.

use reqwest::Method;
use serde_json::Value;

use crate::support::{
    PASSWORD, Service, registration,
    servers::{postgres::Postgres, redis::Redis},
};

/// Three shards in three databases, and an instance that is not killed.
pub struct Stage {
    pub service: Service,
    postgres: Postgres,
    redis: Redis,
    shards: String,
}

impl Stage {
    pub async fn new() -> Self {
        let (postgres, redis) = (Postgres::start(), Redis::start());
        let shards = [0, 1, 2].map(|shard| format!("db-node-{shard}={}", postgres.database(&database(shard))));
        let shards = shards.join(",");
        let service = instance(&shards, &redis).await;
        Self { service, postgres, redis, shards }
    }

    /// Another instance.
    pub async fn instance(&self) -> Service {
        instance(&self.shards, &self.redis).await
    }

    /// A new name that belongs on `shard`.
    pub async fn name_on(&self, shard: usize) -> String {
        loop {
            let name = format!("name-{}", uuid::Uuid::new_v4().simple());
            if self.shard_of_key(&name).await == shard {
                return name;
            }
        }
    }

    /// The shard that a name or a user's id is on.
    pub async fn shard_of_key(&self, key: &str) -> usize {
        let path = format!("/partitions/{key}");
        shard_of(&self.service.operator_view(&path).await)
    }

    /// A user on one shard whose name is on another: its id and name.
    pub async fn user_on(&self, shard: usize, name_shard: usize) -> (String, String) {
        loop {
            let name = self.name_on(name_shard).await;
            let reply = self.service.post("/v1/users", registration(&name)).send().await;
            assert_eq!(reply.status, 201, "{}", reply.text);
            if shard_of(&reply.json()["partition"]) == shard {
                return (reply.string("user_id"), name);
            }
        }
    }

    /// The URL of a shard's database.
    pub fn url(&self, shard: usize) -> String {
        self.postgres.url(&database(shard))
    }

    /// Runs a statement on a shard.
    pub fn psql(&self, shard: usize, statement: &str) -> String {
        self.postgres.psql(&database(shard), statement).expect("the statement runs")
    }

    /// Makes all claims two minutes older.
    pub fn age_claims(&self) {
        for shard in 0..3 {
            self.psql(shard, "UPDATE login_names SET claimed_at = claimed_at - interval '2 minutes'");
        }
    }

    /// Makes all pending revocations of sessions expire.
    pub fn age_revocations(&self) {
        let script = "for _, key in ipairs(redis.call('KEYS', 'symbolon:*:revocations')) do \
            for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZADD', key, 1, id) end end return 'aged'";
        assert_eq!(self.redis.command(&["eval", script, "0"]), "aged");
    }

    pub fn redis(&mut self) -> &mut Redis {
        &mut self.redis
    }

    /// The id of the user with a name. Asserts that operators, logins and rows agree on it.
    pub async fn answers_to(&self, name: &str) -> Option<String> {
        let found = self.service.operator(Method::GET, &format!("/users?login_name={name}")).send().await;
        let login = self.service.try_login(name, PASSWORD).await;
        let rows: Vec<String> = (0..3)
            .map(|shard| self.psql(shard, &format!("SELECT user_id FROM users WHERE login_name = '{name}'")))
            .filter(|rows| !rows.is_empty())
            .collect();
        if found.status == 404 {
            assert_eq!(login.status, 401, "an operator finds no user, and a login succeeds");
            return None;
        }
        assert_eq!(found.status, 200, "{}", found.text);
        let user_id = found.string("user_id");
        let token = login.string("token");
        let own = self.service.get("/v1/users/me").bearer(&token).send().await.json();
        assert_eq!((own["user_id"].as_str(), own["login_name"].as_str()), (Some(user_id.as_str()), Some(name)));
        assert_eq!(rows, std::slice::from_ref(&user_id), "not exactly one row has the name");
        Some(user_id)
    }

    /// Asserts that a new user can register a name.
    pub async fn assert_free(&self, name: &str) {
        assert_eq!(self.answers_to(name).await, None, "{name} is in use");
        let reply = self.service.post("/v1/users", registration(name)).send().await;
        assert_eq!(reply.status, 201, "{name}: {}", reply.text);
        assert_eq!(self.answers_to(name).await.as_deref(), reply.json()["user_id"].as_str());
    }

    /// Asserts that a name is pending, so that others are to retry within a minute.
    pub async fn assert_pending(&self, name: &str) {
        let reply = self.service.post("/v1/users", registration(name)).send().await;
        reply.problem(503, "login-name-pending");
        assert!((1..=60).contains(&reply.retry_after()), "{reply:?}");
    }

    /// Asserts that a name is refused to others.
    pub async fn assert_refused(&self, name: &str) {
        self.service.post("/v1/users", registration(name)).send().await.problem(409, "login-name-taken");
    }
}

fn database(shard: usize) -> String {
    format!("shard{shard}")
}

/// The shard that a partition is on.
fn shard_of(partition: &Value) -> usize {
    let node = partition["node_id"].as_str().and_then(|id| id.strip_prefix("db-node-")).expect("a shard");
    node.parse().expect("a number")
}

async fn instance(shards: &str, redis: &Redis) -> Service {
    let redis = redis.url();
    Service::with(&[
        ("SYMBOLON_SHARDS", shards),
        ("SYMBOLON_REDIS_URL", &redis),
        // A step may wait as long as the test needs.
        ("SYMBOLON_SHARD_TIMEOUT", "60s"),
        ("SYMBOLON_REQUEST_TIMEOUT", "60s"),
        ("SYMBOLON_THROTTLE", "off"),
    ])
    .await
}
