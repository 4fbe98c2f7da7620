//! Requests to the service, and its replies.

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use super::{DEADLINE, OPERATOR_TOKEN, PASSWORD, Service, registration};

/// A request that is not sent yet.
pub struct Request(reqwest::RequestBuilder);

/// A response, its body read.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Request {
    pub fn bearer(self, token: &str) -> Self {
        Self(self.0.bearer_auth(token))
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    pub fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    pub fn raw(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("content-type", content_type).body(body))
    }

    pub async fn send(self) -> Reply {
        self.try_send().await.expect("an answer")
    }

    pub async fn try_send(self) -> Result<Reply, reqwest::Error> {
        let response = self.0.timeout(DEADLINE).send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Reply { status, headers, text: response.text().await? })
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// A string member of the JSON body.
    pub fn string(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("no {name} in {}: {}", self.status, self.text)).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The seconds of `Retry-After`.
    pub fn retry_after(&self) -> u64 {
        self.header("retry-after").parse().unwrap_or_else(|_| panic!("no retry-after: {self:?}"))
    }

    /// Asserts that this is a problem of this status and type; returns the fields that it names.
    pub fn problem(&self, status: u16, slug: &str) -> Vec<String> {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["type"], format!("urn:symbolon:problem:{slug}"), "{body}");
        assert_eq!(body["status"], status);
        let fields = body["errors"].as_array().cloned().unwrap_or_default();
        fields.iter().map(|error| error["field"].as_str().expect("a field").to_owned()).collect()
    }

    /// Asserts that another request has taken the login name, or is taking it and has not stored its user yet.
    pub fn assert_name_refused(&self) {
        match self.status.as_u16() {
            503 => self.problem(503, "login-name-pending"),
            _ => self.problem(409, "login-name-taken"),
        };
    }
}

impl Service {
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request(self.client.request(method, format!("{}{path}", self.url)))
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> Request {
        self.request(Method::POST, path).json(&body)
    }

    pub fn put(&self, path: &str, body: Value) -> Request {
        self.request(Method::PUT, path).json(&body)
    }

    pub fn patch(&self, path: &str, body: Value) -> Request {
        self.request(Method::PATCH, path).json(&body)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    /// A request of an operator.
    pub fn operator(&self, method: Method, path: &str) -> Request {
        self.request(method, &format!("/v1/operator{path}")).bearer(OPERATOR_TOKEN)
    }

    /// The JSON that an operator reads.
    pub async fn operator_view(&self, path: &str) -> Value {
        let reply = self.operator(Method::GET, path).send().await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.json()
    }

    /// Registers a user and returns its id.
    pub async fn register(&self, login_name: &str) -> String {
        let reply = self.post("/v1/users", registration(login_name)).send().await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        reply.string("user_id")
    }

    /// Logs in and returns the token.
    pub async fn login(&self, login_name: &str) -> String {
        let reply = self.try_login(login_name, PASSWORD).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.string("token")
    }

    pub async fn try_login(&self, login_name: &str, password: &str) -> Reply {
        self.post("/v1/login", json!({"login_name": login_name, "password": password})).send().await
    }

    /// Registers a user, logs it in and returns the token.
    pub async fn register_and_login(&self, login_name: &str) -> String {
        self.register(login_name).await;
        self.login(login_name).await
    }

    pub async fn log_out(&self, token: &str) -> Reply {
        self.request(Method::POST, "/v1/logout").bearer(token).send().await
    }

    /// The status of `GET /v1/session` with a token.
    pub async fn session_status(&self, token: &str) -> u16 {
        self.get("/v1/session").bearer(token).send().await.status.as_u16()
    }

    pub async fn is_ready(&self) -> bool {
        self.get("/v1/health/ready").send().await.status == 200
    }

    /// Sets a user's permissions, as an operator.
    pub async fn set_permissions(&self, user_id: &str, permissions: &[&str]) -> Reply {
        let change = self.operator(Method::PUT, &format!("/users/{user_id}/permissions"));
        change.json(&json!({"permissions": permissions})).send().await
    }

    /// A request of an operator to suspend a user, or to let it in again.
    pub fn suspension(&self, user_id: &str, suspended: bool) -> Request {
        self.operator(Method::PUT, &format!("/users/{user_id}/suspended")).json(&json!({"suspended": suspended}))
    }

    /// All metrics, as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        let reply = self.get("/metrics").bearer(OPERATOR_TOKEN).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.text
    }

    /// The value of a metric without labels, or with these: `name{label="value"}`.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no metric {name}"));
        value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
    }
}
