//! Shards on PostgreSQL and sessions in Redis, and instances on them.

use super::{
    LogFile, Service, registration,
    servers::{postgres::Postgres, redis::Redis},
};

/// Two shards on the first PostgreSQL server and one on the second, and a Redis server.
pub struct Fleet {
    pub postgres: [Postgres; 2],
    pub redis: Redis,
    /// The setting `shards`.
    pub shards: String,
    /// The server that has only the catalog, and the catalog's URL.
    pub catalog: Option<(Postgres, String)>,
}

impl Fleet {
    /// A new fleet; its catalog is on the first shard.
    pub fn start() -> Self {
        let postgres = [Postgres::start(), Postgres::start()];
        let shards = [(0, &postgres[0]), (1, &postgres[0]), (2, &postgres[1])]
            .map(|(shard, server)| format!("db-node-{shard}={}", server.database(&format!("shard{shard}"))));
        Self { redis: Redis::start(), shards: shards.join(","), postgres, catalog: None }
    }

    /// A new fleet whose catalog has a server of its own.
    pub fn start_with_catalog() -> Self {
        let server = Postgres::start();
        let url = server.database("catalog");
        Self { catalog: Some((server, url)), ..Self::start() }
    }

    /// Raises the epoch as a coordinator does: on each shard, then in the catalog.
    pub fn raise_epoch(&self) {
        for (server, database) in self.databases() {
            server.psql(database, "UPDATE shard SET epoch = epoch + 1").expect("a shard");
        }
        self.postgres[0].psql("shard0", "UPDATE topology SET epoch = epoch + 1").expect("a catalog");
    }

    /// Which shard is in which database.
    fn databases(&self) -> [(&Postgres, &'static str); 3] {
        [(&self.postgres[0], "shard0"), (&self.postgres[0], "shard1"), (&self.postgres[1], "shard2")]
    }

    /// Has instances that start from now on reach the third shard through `port`.
    pub fn reroute_third_shard(&mut self, port: u16) {
        self.shards = self.shards.replace(&format!(":{}/", self.postgres[1].port()), &format!(":{port}/"));
    }

    /// How many rows a table has on all shards. It has none on a shard where it does not exist yet.
    pub fn count(&self, table: &str) -> usize {
        let count =
            |(server, database): (&Postgres, _)| server.psql(database, &format!("SELECT count(*) FROM {table}"));
        self.databases().into_iter().filter_map(|shard| count(shard).ok()?.parse::<usize>().ok()).sum()
    }

    /// Login names and user ids in a table on all shards.
    pub fn pairs(&self, table: &str) -> Vec<String> {
        let query = format!("SELECT login_name, user_id FROM {table} WHERE state = 'live'");
        let lines = self.databases().map(|(server, database)| server.psql(database, &query).expect("rows"));
        lines.iter().flat_map(|rows| rows.lines().map(str::to_owned)).collect()
    }

    /// An instance of it.
    pub async fn instance(&self) -> Service {
        self.instance_with(&[]).await
    }

    /// An instance with settings, on the fleet's Redis unless they name another one.
    pub async fn instance_with(&self, settings: &[(&str, &str)]) -> Service {
        let redis = self.redis.url();
        Service::with(&[self.settings(&redis).as_slice(), settings].concat()).await
    }

    /// As [`Self::instance_with`], its log in a file.
    pub async fn instance_logging_to(&self, log: &LogFile, settings: &[(&str, &str)]) -> Service {
        let redis = self.redis.url();
        Service::logging_to(log, &[self.settings(&redis).as_slice(), settings].concat()).await
    }

    fn settings<'a>(&'a self, redis: &'a str) -> Vec<(&'a str, &'a str)> {
        let common = [
            ("SYMBOLON_REDIS_URL", redis),
            ("SYMBOLON_SHARDS", self.shards.as_str()),
            ("SYMBOLON_THROTTLE_ADDRESS", "10000/15m"),
            ("SYMBOLON_THROTTLE_REGISTRATIONS", "10000/1h"),
        ];
        let catalog = self.catalog.as_ref().map(|(_, url)| ("SYMBOLON_CATALOG_URL", url.as_str()));
        common.into_iter().chain(catalog).collect()
    }
}

/// Registers users until each shard has one with its login name on the same shard; returns the names by shard.
pub async fn user_on_each_shard(service: &Service) -> [String; 3] {
    let mut found = [const { None }; 3];
    for number in 0.. {
        let name = format!("user-{number}");
        let reply = service.post("/v1/users", registration(&name)).send().await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let placed = service.operator_view(&format!("/partitions/{name}")).await;
        if placed["node_id"] == reply.json()["partition"]["node_id"] {
            let shard = placed["node_id"].as_str().and_then(|id| id.strip_prefix("db-node-")).expect("a shard");
            found[shard.parse::<usize>().expect("a number")] = Some(name);
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.map(|name| name.expect("a name"))
}
