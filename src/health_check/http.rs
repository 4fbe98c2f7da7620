//! Health checks over HTTP.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// How much of an answer is read at most, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Why a node is not well.
#[derive(Debug, thiserror::Error)]
pub enum HttpCheckError {
    /// Its address makes no URL.
    #[error("the URL is wrong: {0}")]
    Url(#[from] http::Error),
    /// It can't be reached.
    #[error("can't be reached: {0}")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    /// Its answer broke off.
    #[error("the answer broke off: {0}")]
    BrokenOff(Box<dyn std::error::Error + Send + Sync>),
    /// It answers that it is not ready.
    #[error("answers {0}")]
    NotReady(StatusCode),
}

/// Asks servers whether they are ready.
#[derive(Debug, Clone)]
pub struct HttpCheck(Client<HttpConnector, Empty<Bytes>>);

impl HttpCheck {
    /// Each check gets a connection of its own: a server that takes no new ones is not well.
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http())
    }

    /// The answer of `url`, whatever its status.
    ///
    /// # Errors
    /// [`HttpCheckError`] if there is none.
    pub async fn get(&self, url: &str) -> Result<(StatusCode, Bytes), HttpCheckError> {
        let response = self.0.request(Request::get(url).body(Empty::new())?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        Ok((status, body.map_err(HttpCheckError::BrokenOff)?.to_bytes()))
    }

    /// Whether `url` answers with success.
    ///
    /// # Errors
    /// [`HttpCheckError`] if it doesn't.
    pub async fn ready(&self, url: &str) -> Result<(), HttpCheckError> {
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
