//! Health checks over HTTP.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Maximum size of a response in bytes.
const MAX_RESPONSE_SIZE: usize = 64 * 1024;

/// Why an HTTP health check failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpCheckError {
    #[error("the URL is invalid: {0}")]
    Url(#[from] http::Error),
    #[error("the request failed: {0}")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    /// The response is incomplete or too large.
    #[error("the response could not be read: {0}")]
    Response(Box<dyn std::error::Error + Send + Sync>),
    #[error("the status is {0}")]
    NotReady(StatusCode),
}

/// HTTP client for health checks.
#[derive(Debug, Clone)]
pub struct HttpCheck(Client<HttpConnector, Empty<Bytes>>);

impl HttpCheck {
    /// Uses a new connection for each check, because a server that accepts no connections is not healthy.
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http())
    }

    /// Requests `url` and returns the status and the body.
    ///
    /// # Errors
    /// [`HttpCheckError`] if there is no complete response.
    pub async fn get(&self, url: &str) -> Result<(StatusCode, Bytes), HttpCheckError> {
        let response = self.0.request(Request::get(url).body(Empty::new())?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE_SIZE).collect().await;
        Ok((status, body.map_err(HttpCheckError::Response)?.to_bytes()))
    }

    /// Requests `url` and checks that the status is 2xx.
    ///
    /// # Errors
    /// [`HttpCheckError`] otherwise.
    pub async fn check_ready(&self, url: &str) -> Result<(), HttpCheckError> {
        match self.get(url).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, _) => Err(HttpCheckError::NotReady(status)),
        }
    }
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self::new()
    }
}
