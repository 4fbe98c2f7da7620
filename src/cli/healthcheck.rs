//! `symbolon healthcheck`: for a container's `HEALTHCHECK`, which has no curl.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use axum::{body::Bytes, http::Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::config::Settings;

const DEADLINE: Duration = Duration::from_secs(5);

/// Asks the instance that listens at `settings.listen`; exit code 0 if it is ready, 1 if not.
pub(super) fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let url = format!("http://{}/v1/health/ready", reachable(settings.listen));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(async {
        tokio::time::timeout(DEADLINE, ask(&url))
            .await
            .with_context(|| format!("{url} did not answer within {DEADLINE:?}"))?
    })?;
    super::print(&format!("{body}\n"))?;
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(url: &str) -> anyhow::Result<(axum::http::StatusCode, String)> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(url).body(Empty::<Bytes>::new())?;
    let response = client.request(request).await.with_context(|| format!("{url} can't be reached"))?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// An instance that listens on every address is asked on the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}
