//! `symbolon healthcheck`: for a container's `HEALTHCHECK`, which has no curl.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;

use crate::{config::Settings, health_check::http::HttpCheck};

const DEADLINE: Duration = Duration::from_secs(5);

/// Asks the instance that listens at `settings.listen`; exit code 0 if it is ready, 1 if not.
pub(super) fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let url = format!("http://{}/v1/health/ready", reachable(settings.listen));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(async {
        tokio::time::timeout(DEADLINE, HttpCheck::new().get(&url))
            .await
            .with_context(|| format!("{url} did not answer within {DEADLINE:?}"))?
            .with_context(|| format!("asking {url}"))
    })?;
    super::print(&format!("{}\n", String::from_utf8_lossy(&body)))?;
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
