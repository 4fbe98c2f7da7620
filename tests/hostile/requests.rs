//! Requests of hostile connections: valid ones, and ones that are refused.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::PASSWORD;

/// Users whose names and tokens the attackers know.
pub struct Targets {
    pub names: Vec<String>,
    pub tokens: Vec<String>,
}

/// A request, independent of the version of HTTP.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

const READS: [&str; 14] = [
    "/v1/session",
    "/v1/session",
    "/v1/sessions",
    "/v1/users/me",
    "/v1/users/me/preferences",
    "/v1/users/me/export",
    "/v1/users/00000000-0000-7000-8000-000000000000",
    "/v1/health/live",
    "/v1/health/ready",
    "/v1/operator/stats",
    "/v1/operator/gateway",
    "/v1/operator/users?login_name=ada",
    "/metrics",
    "/unknown",
];

const DOCUMENTS: [&str; 4] = ["/openapi.json", "/docs/", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"];

impl Targets {
    pub fn request(&self, rng: &mut Rng) -> Request {
        match rng.u8(..8) {
            0..3 => self.upload(rng),
            3 => self.download(rng),
            4 => {
                let path = format!("/v1/sessions/{:032x}", rng.u128(..));
                Request::new("DELETE", &path, self.authorization(rng))
            }
            _ => {
                let (method, path) = (pick(rng, &["GET", "GET", "HEAD"]), pick::<&str>(rng, &READS));
                Request::new(method, path, self.authorization(rng))
            }
        }
    }

    pub fn download(&self, rng: &mut Rng) -> Request {
        Request::new("GET", pick::<&str>(rng, &DOCUMENTS), Vec::new())
    }

    pub fn upload(&self, rng: &mut Rng) -> Request {
        let (method, path, body) = match rng.u8(..6) {
            0 => {
                let password = if rng.bool() { PASSWORD } else { "short" };
                let name = format!("stranger-{:08x}", rng.u32(..));
                let profile = json!({"name": "S", "email": "stranger@example.com"});
                ("POST", "/v1/users", json!({"login_name": name, "password": password, "profile": profile}))
            }
            1 | 2 => {
                let name = if rng.bool() { pick(rng, &self.names).clone() } else { format!("unknown-{}", rng.u16(..)) };
                ("POST", "/v1/login", json!({"login_name": name, "password": format!("wrong {}", rng.u32(..))}))
            }
            3 => ("PATCH", "/v1/users/me/preferences", preferences(rng, 0)),
            4 => ("PATCH", "/v1/users/me", json!({"profile": {"name": format!("S {}", rng.u16(..))}})),
            _ => {
                let passwords = json!({"current_password": "not the password", "new_password": "another password"});
                ("PUT", "/v1/users/me/password", passwords)
            }
        };
        let mut request = Request::new(method, path, self.authorization(rng));
        request.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        request.body = body.to_string().into_bytes();
        if rng.u8(..8) == 0 {
            let at = rng.usize(..request.body.len());
            request.body[at] = rng.u8(..);
        }
        request
    }

    /// No header, a live token, a well-formed one of no session, or random text.
    fn authorization(&self, rng: &mut Rng) -> Vec<(String, String)> {
        let token = match rng.u8(..5) {
            0 => return Vec::new(),
            1 | 2 => pick(rng, &self.tokens).clone(),
            3 => format!("sym_{}", letters(rng, 64)),
            _ => {
                let length = rng.usize(..200);
                letters(rng, length)
            }
        };
        vec![("authorization".to_owned(), format!("Bearer {token}"))]
    }
}

impl Request {
    fn new(method: &'static str, path: &str, headers: Vec<(String, String)>) -> Self {
        Self { method, path: path.to_owned(), headers, body: Vec::new() }
    }

    /// Its head in HTTP/1.1, with additional lines.
    pub fn head(&self, lines: &str) -> Vec<u8> {
        let own: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{} {} HTTP/1.1\r\nhost: h\r\n{own}{lines}\r\n", self.method, self.path).into_bytes()
    }

    /// Head and body in HTTP/1.1.
    pub fn whole(&self) -> Vec<u8> {
        let length =
            if self.body.is_empty() { String::new() } else { format!("content-length: {}\r\n", self.body.len()) };
        [self.head(&length), self.body.clone()].concat()
    }

    /// Its head in HTTP/2.
    pub fn fields(&self) -> Vec<(String, String)> {
        let own = [(":method", self.method), (":scheme", "http"), (":path", &self.path), (":authority", "h")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        own.into_iter().chain(self.headers.iter().cloned()).collect()
    }
}

pub fn pick<'a, T>(rng: &mut Rng, among: &'a [T]) -> &'a T {
    &among[rng.usize(..among.len())]
}

/// A document of a few levels.
fn preferences(rng: &mut Rng, depth: u8) -> Value {
    match rng.u8(..6) {
        0 if depth > 0 => Value::Null,
        1 if depth > 0 => json!(rng.i64(..)),
        2 if depth > 0 => json!("x".repeat(rng.usize(..2000))),
        3 if depth > 0 => Value::Array((0..rng.u8(..4)).map(|_| preferences(rng, depth + 1)).collect()),
        _ if depth > 4 => json!(rng.f64()),
        _ => {
            let keys: Vec<String> = (0..rng.u8(..4)).map(|_| format!("k{}", rng.u8(..20))).collect();
            Value::Object(keys.into_iter().map(|key| (key, preferences(rng, depth + 1))).collect())
        }
    }
}

fn letters(rng: &mut Rng, count: usize) -> String {
    (0..count).map(|_| rng.alphanumeric()).collect()
}
