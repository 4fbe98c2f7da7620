//! Stop signals, and the end of whoever started this process.

use std::io::Read;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The first signal asks the service to stop; a second one ends it at once.
pub(super) fn on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if again {
                tracing::warn!("a second signal ends the service at once");
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
    Ok(())
}

/// Asks the service to stop when standard input ends: whoever held its other end has ended, however that was.
pub(super) fn with_standard_input(stop: CancellationToken) {
    // A thread of its own: a read of standard input can't be cancelled, and would hold up the runtime's end.
    std::thread::spawn(move || {
        let (mut input, mut buffer) = (std::io::stdin().lock(), [0; 64]);
        while let Ok(1..) = input.read(&mut buffer) {}
        stop.cancel();
    });
}
