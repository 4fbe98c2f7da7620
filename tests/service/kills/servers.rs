//! Faults of PostgreSQL and Redis: three shards on two servers, and sessions in Redis, each behind a proxy.

use fastrand::Rng;

use super::{fault_run::Storage, probe::Probe, settings};
use crate::support::{
    Service,
    servers::{postgres::Postgres, proxy::Proxy, redis::Redis, volume::Volume},
    until,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The tablespace of a shard is full.
    PostgresFull,
    /// Transactions are read-only, as on a standby.
    PostgresReadOnly,
    PostgresFrozen,
    PostgresCut,
    PostgresKilled,
    /// `maxmemory` under `noeviction`.
    RedisFull,
    /// Redis refuses writes for lack of replicas.
    RedisReadOnly,
    RedisFrozen,
    RedisCut,
    RedisKilled,
}

/// The shards on each server.
const SHARDS: [&[usize]; 2] = [&[0, 1], &[2]];

/// Makes tables refuse writes as a full disk does, where no disk can be mounted.
const REFUSE: &str = "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
    $$BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END$$; \
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON users EXECUTE FUNCTION refuse(); \
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON login_names EXECUTE FUNCTION refuse()";

pub struct Servers {
    postgres: [Postgres; 2],
    redis: Redis,
    shard_lines: [Proxy; 2],
    redis_line: Proxy,
    /// The disk with the tablespace of the third shard.
    volume: Option<Volume>,
    /// The server with the fault.
    faulty_server: usize,
    rng: Rng,
}

impl Servers {
    pub fn new(seed: u64) -> Self {
        let (postgres, redis) = ([Postgres::start(), Postgres::start()], Redis::start_waiting_for_disk());
        let volume = Volume::mount("postgres", 128);
        postgres[0].database("shard0");
        postgres[0].database("shard1");
        postgres[1].database("shard2");
        if let Some(volume) = &volume {
            let tablespace = format!("CREATE TABLESPACE small LOCATION '{}'", volume.path().display());
            postgres[1].psql("postgres", &tablespace).expect("a tablespace");
            postgres[1].psql("postgres", "ALTER DATABASE shard2 SET TABLESPACE small").expect("it moves");
        }
        let shard_lines = [Proxy::to(postgres[0].port()), Proxy::to(postgres[1].port())];
        let redis_line = Proxy::to(redis.port());
        Self { postgres, redis, shard_lines, redis_line, volume, faulty_server: 0, rng: Rng::with_seed(seed) }
    }

    fn shards(&self) -> String {
        let url = |server: usize, shard: usize| {
            let port = self.shard_lines[server].port();
            format!("db-node-{shard}=postgres://postgres@127.0.0.1:{port}/shard{shard}")
        };
        [url(0, 0), url(0, 1), url(1, 2)].join(",")
    }

    fn set_read_only(&self, value: &str) {
        let server = &self.postgres[self.faulty_server];
        server.psql("postgres", &format!("ALTER SYSTEM {value}")).expect("a setting");
        server.psql("postgres", "SELECT pg_reload_conf()").expect("it is in force");
    }

    /// Asserts that users of the faulty server are refused, and all others served.
    async fn assert_shards_affected(&self, fault: Fault, service: &Service, probe: &Probe) {
        for &shard in SHARDS[self.faulty_server] {
            until("writes are refused", async || {
                self.volume.iter().filter(|_| fault == Fault::PostgresFull).for_each(Volume::fill);
                probe.write(service, shard).await == 503
            })
            .await;
        }
        // On a busy machine a statement may time out without a fault.
        for &shard in SHARDS[1 - self.faulty_server] {
            until("users on the other server are served", async || {
                probe.write(service, shard).await == 200 && probe.login(service, shard).await == 200
            })
            .await;
        }
        until("sessions are served", async || probe.session(service).await == 200).await;
        probe.assert_in_service(service).await;
    }

    async fn assert_redis_affected(&self, fault: Fault, service: &Service, probe: &Probe) {
        let is_readable = matches!(fault, Fault::RedisFull | Fault::RedisReadOnly);
        if is_readable {
            until("logins are refused", async || probe.login(service, 0).await == 503).await;
            until("sessions are still read", async || probe.session(service).await == 200).await;
        } else {
            until("sessions are refused", async || probe.session(service).await == 503).await;
        }
        probe.assert_in_service(service).await;
    }
}

impl Storage for Servers {
    type Fault = Fault;
    const FAULTS: &'static [Fault] = &[
        Fault::PostgresFull,
        Fault::RedisFull,
        Fault::PostgresReadOnly,
        Fault::RedisReadOnly,
        Fault::PostgresFrozen,
        Fault::RedisFrozen,
        Fault::PostgresCut,
        Fault::RedisCut,
    ];

    async fn start(&self) -> Service {
        let (log, shards) = (super::log(), self.shards());
        let redis = format!("redis://127.0.0.1:{}", self.redis_line.port());
        let stores = [("SYMBOLON_SHARDS", shards.as_str()), ("SYMBOLON_REDIS_URL", &redis)];
        Service::with(&settings(&log, &stores)).await
    }

    fn store_to_kill(number: usize) -> Option<Fault> {
        [None, Some(Fault::PostgresKilled), Some(Fault::RedisKilled)][(number - 1) % 3]
    }

    async fn inject(&mut self, fault: Fault, service: &Service, probe: &Probe) {
        self.faulty_server = if fault == Fault::PostgresFull { 1 } else { self.rng.usize(..2) };
        match fault {
            Fault::PostgresFull if self.volume.is_none() => {
                self.postgres[1].psql("shard2", REFUSE).expect("triggers");
            }
            Fault::PostgresFull => {}
            Fault::PostgresReadOnly => self.set_read_only("SET default_transaction_read_only = on"),
            Fault::PostgresFrozen => self.postgres[self.faulty_server].pause(),
            Fault::PostgresCut => self.shard_lines[self.faulty_server].cut(),
            Fault::PostgresKilled => self.postgres[self.faulty_server].kill(),
            Fault::RedisFull => self.redis.fill(),
            Fault::RedisReadOnly => {
                assert_eq!(self.redis.command(&["config", "set", "min-replicas-to-write", "1"]), "OK");
            }
            Fault::RedisFrozen => self.redis.pause(),
            Fault::RedisCut => self.redis_line.cut(),
            Fault::RedisKilled => self.redis.kill(),
        }
        if format!("{fault:?}").starts_with("Postgres") {
            self.assert_shards_affected(fault, service, probe).await;
        } else {
            self.assert_redis_affected(fault, service, probe).await;
        }
    }

    async fn lift(&mut self, fault: Fault, _service: &Service) {
        match (fault, &self.volume) {
            (Fault::PostgresFull, Some(volume)) => volume.empty(),
            (Fault::PostgresFull, None) => {
                let accept = "DROP TRIGGER full_disk ON users; DROP TRIGGER full_disk ON login_names";
                self.postgres[1].psql("shard2", accept).expect("no triggers");
            }
            (Fault::PostgresReadOnly, _) => self.set_read_only("RESET default_transaction_read_only"),
            (Fault::PostgresFrozen, _) => self.postgres[self.faulty_server].resume(),
            (Fault::PostgresCut, _) => self.shard_lines[self.faulty_server].mend(),
            (Fault::PostgresKilled, _) => self.postgres[self.faulty_server].start_again(),
            (Fault::RedisFull, _) => self.redis.empty(),
            (Fault::RedisReadOnly, _) => {
                assert_eq!(self.redis.command(&["config", "set", "min-replicas-to-write", "0"]), "OK");
            }
            (Fault::RedisFrozen, _) => self.redis.resume(),
            (Fault::RedisCut, _) => self.redis_line.mend(),
            (Fault::RedisKilled, _) => self.redis.start_again(),
        }
    }
}
