//! Stop on signals, and on the end of the parent process.

use std::io::Read;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `stop` on the first SIGTERM or SIGINT, and exits the process with code 1 on the second.
pub(super) fn on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for is_second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_second {
                tracing::warn!("second stop signal received; exiting without draining");
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
    Ok(())
}

/// Cancels `stop` when standard input ends. It is a pipe from the parent, so the parent has ended, even by SIGKILL.
pub(super) fn on_stdin_closed(stop: CancellationToken) {
    // A plain thread, because a read of standard input can't be cancelled and would delay the runtime's shutdown.
    std::thread::spawn(move || {
        let (mut input, mut buffer) = (std::io::stdin().lock(), [0; 64]);
        while let Ok(1..) = input.read(&mut buffer) {}
        stop.cancel();
    });
}
