//! Calm users beside an attack: every request of theirs must succeed, and what they change must be what they read.

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
use crate::service::harness::{PASSWORD, registration};

/// Limits are by address, and this one is no attacker's.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A calm user is not more patient than this. How quick answers are beside attacks `scripts/hostile` measures; here a build
/// that is not optimised shares a busy machine with its attackers.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two rounds of requests.
const PAUSE: Duration = Duration::from_millis(40);

/// One round of so many begins with a login.
const LOGIN_EVERY: u64 = 64;

/// What became of the calm users' requests.
#[derive(Debug, Default)]
pub struct Served {
    pub requests: u64,
    pub slowest: Duration,
    pub failures: Vec<String>,
}

/// Users that make requests until they are told to stop.
pub struct Calm {
    stop: CancellationToken,
    users: Vec<JoinHandle<Served>>,
}

/// A user and how it connects.
struct User {
    url: String,
    name: String,
    is_http2: bool,
    /// Whether it keeps its connection, or makes a new one for each request.
    keeps: bool,
    kept: Client<HttpConnector, Full<Bytes>>,
    token: String,
    under_way: UnderWay,
    served: Served,
}

impl Calm {
    /// Four users: over HTTP/1.1 and HTTP/2, on kept connections and on new ones. `round` tells them from earlier ones.
    pub fn start(url: &str, round: &str, under_way: &UnderWay) -> Self {
        let stop = CancellationToken::new();
        let users = [(false, false), (false, true), (true, false), (true, true)].map(|(is_http2, keeps)| {
            let user = User {
                url: url.to_owned(),
                name: format!("calm-{round}-{}-{}", if is_http2 { 2 } else { 1 }, if keeps { "kept" } else { "new" }),
                is_http2,
                keeps,
                kept: client(is_http2),
                token: String::new(),
                under_way: under_way.clone(),
                served: Served::default(),
            };
            tokio::spawn(user.live(stop.clone()))
        });
        Self { stop, users: users.into() }
    }

    /// Ends them; what became of all their requests.
    pub async fn stop(self) -> Served {
        self.stop.cancel();
        let mut all = Served::default();
        for user in self.users {
            let served = user.await.expect("a calm user does not panic");
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
    // Nothing is made again that the service did not take.
    Client::builder(TokioExecutor::new()).http2_only(is_http2).retry_canceled_requests(false).build(connector)
}

impl User {
    async fn live(mut self, stop: CancellationToken) -> Served {
        self.expect(Method::POST, "/v1/users", Some(registration(&self.name)), StatusCode::CREATED).await;
        let mut round = 0;
        // As told at least once, however short the attack is.
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
                self.fail(format_args!("round {round} is not what is read: {read}"));
            }
            self.expect(Method::GET, "/v1/users/me", None, StatusCode::OK).await;
            round += 1;
            tokio::time::sleep(PAUSE).await;
        }
        self.served
    }

    /// Makes a request; the body of its response.
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
        let client = if self.keeps { self.kept.clone() } else { client(self.is_http2) };
        let response = client.request(request).await?;
        Ok((response.status(), response.into_body().collect().await?.to_bytes()))
    }

    fn fail(&mut self, what: fmt::Arguments<'_>) {
        let seeds = self.under_way.range();
        self.served.failures.push(format!("{}: {what}; seeds under way: {seeds:?}", self.name));
    }
}
