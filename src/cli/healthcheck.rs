//! `symbolon healthcheck`, for the `HEALTHCHECK` of a container image without curl.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;

use crate::{config::Settings, health_check::http::HttpCheck};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Requests `/v1/health/ready` from the instance at `settings.listen`. The exit code is 0 if it is ready, 1 if not.
pub(super) fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let url = format!("http://{}/v1/health/ready", reachable(settings.listen));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(async {
        tokio::time::timeout(TIMEOUT, HttpCheck::new().get(&url))
            .await
            .with_context(|| format!("{url} did not answer within {TIMEOUT:?}; is the instance running?"))?
            .with_context(|| format!("request to {url} failed"))
    })?;
    super::print(&format!("{}\n", String::from_utf8_lossy(&body)))?;
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the loopback address if the instance listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}
