//! Ordinary users during an attack: every request of theirs must succeed, and they must read what they have written.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::attack::UnderWay;
use crate::support::{PASSWORD, registration};

/// An address that no attacker has: limits are by address.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The longest time that a request may take. It is generous: here an unoptimised build shares a busy machine with its
/// attackers, and `python3 -m bench hostile` measures how fast the service is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two rounds of requests: the load is meant to be light.
const PAUSE: Duration = Duration::from_millis(40);

/// How many rounds of requests follow a login.
const LOGIN_EVERY: u64 = 64;

/// The results of their requests.
#[derive(Debug, Default)]
pub struct Served {
    pub requests: u64,
    pub slowest: Duration,
    pub failures: Vec<String>,
}

/// Users that make requests until they are stopped.
pub struct Bystanders {
    stop: CancellationToken,
    users: Vec<JoinHandle<Served>>,
}

/// A user and its connections.
struct User {
    url: String,
    name: String,
    is_http2: bool,
    /// Whether all requests share a connection.
    keeps_connection: bool,
    kept: Client<HttpConnector, Full<Bytes>>,
    token: String,
    under_way: UnderWay,
    served: Served,
}

impl Bystanders {
    /// Four users: over HTTP/1.1 and HTTP/2, on one connection and on a new one for each request. `phase` makes their login names unique.
    pub fn start(url: &str, phase: &str, under_way: &UnderWay) -> Self {
        let stop = CancellationToken::new();
        let users = [(false, false), (false, true), (true, false), (true, true)].map(|(is_http2, keeps_connection)| {
            let user = User {
                url: url.to_owned(),
                name: format!(
                    "bystander-{phase}-{}-{}",
                    if is_http2 { 2 } else { 1 },
                    if keeps_connection { "kept" } else { "new" }
                ),
                is_http2,
                keeps_connection,
                kept: client(is_http2),
                token: String::new(),
                under_way: under_way.clone(),
                served: Served::default(),
            };
            tokio::spawn(user.live(stop.clone()))
        });
        Self { stop, users: users.into() }
    }

    /// Stops them; returns the results of all their requests.
    pub async fn stop(self) -> Served {
        self.stop.cancel();
        let mut all = Served::default();
        for user in self.users {
            let served = user.await.expect("no panic");
            all.requests += served.requests;
            all.slowest = all.slowest.max(served.slowest);
            all.failures.extend(served.failures);
        }
        all
    }
}

fn client(is_http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_local_address(Some(IpAddr::V4(SOURCE)));
    connector.set_nodelay(true);
    // A retry would hide a request that was not served.
    Client::builder(TokioExecutor::new()).http2_only(is_http2).retry_canceled_requests(false).build(connector)
}

impl User {
    async fn live(mut self, stop: CancellationToken) -> Served {
        self.expect(Method::POST, "/v1/users", Some(registration(&self.name)), StatusCode::CREATED).await;
        let mut round = 0;
        // At least one round, however short the attack is.
        while round == 0 || !stop.is_cancelled() {
            if round % LOGIN_EVERY == 0 {
                let login = json!({"login_name": self.name, "password": PASSWORD});
                let reply = self.expect(Method::POST, "/v1/login", Some(login), StatusCode::OK).await;
                self.token = reply["token"].as_str().unwrap_or_default().to_owned();
            }
            self.expect(Method::GET, "/v1/session", None, StatusCode::OK).await;
            let path = "/v1/users/me/preferences";
            self.expect(Method::PATCH, path, Some(json!({"round": round})), StatusCode::OK).await;
            let read = self.expect(Method::GET, path, None, StatusCode::OK).await;
            if read["round"] != round {
                self.fail(format_args!("round {round} was written, and read was {read}"));
            }
            self.expect(Method::GET, "/v1/users/me", None, StatusCode::OK).await;
            round += 1;
            tokio::time::sleep(PAUSE).await;
        }
        self.served
    }

    /// Makes a request, and records a failure if its status is not the expected one; returns the body.
    async fn expect(&mut self, method: Method, path: &str, body: Option<Value>, expected: StatusCode) -> Value {
        let begun = Instant::now();
        let request = format!("{method} {path}");
        let answer = tokio::time::timeout(PATIENCE, self.ask(method, path, body)).await;
        self.served.requests += 1;
        self.served.slowest = self.served.slowest.max(begun.elapsed());
        match answer {
            Ok(Ok((status, body))) if status == expected => return serde_json::from_slice(&body).unwrap_or_default(),
            Ok(Ok((status, body))) => self.fail(format_args!("{request}: {status} {}", String::from_utf8_lossy(&body))),
            Ok(Err(error)) => self.fail(format_args!("{request}: {error:?}")),
            Err(_) => self.fail(format_args!("{request}: no answer in {PATIENCE:?}")),
        }
        Value::Null
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        let request = match self.token.as_str() {
            "" => request,
            token => request.header("authorization", format!("Bearer {token}")),
        };
        let request = request.header("content-type", "application/json");
        let request = request.body(body.map_or_else(Full::default, |body| Full::from(body.to_string())))?;
        let client = if self.keeps_connection { self.kept.clone() } else { client(self.is_http2) };
        let response = client.request(request).await?;
        Ok((response.status(), response.into_body().collect().await?.to_bytes()))
    }

    fn fail(&mut self, what: fmt::Arguments<'_>) {
        let seeds = self.under_way.range();
        self.served.failures.push(format!("{}: {what}; seeds of open connections: {seeds:?}", self.name));
    }
}
