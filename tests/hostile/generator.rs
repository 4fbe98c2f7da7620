//! Generates the script of a random seed: one of the kinds of connections, sometimes with a random mutation.

use std::time::Duration;

use fastrand::Rng;

use super::{
    http1, http2,
    requests::Targets,
    script::{Draft, Ending, Reading, Script, Step},
};

/// A kind of connection, by name.
pub type Kind = (&'static str, fn(&mut Draft<'_>));

/// The number of attackers' addresses, from 127.0.1.1 on.
const SOURCES: u8 = 8;

/// The script that belongs to `seed`.
pub fn script(seed: u64, targets: &Targets) -> Script {
    let mut rng = Rng::with_seed(seed);
    let source = rng.u8(1..=SOURCES);
    let kinds: Vec<&Kind> = http1::KINDS.iter().chain(http2::KINDS.into_iter().flatten()).collect();
    let (kind, write) = *kinds[rng.usize(..kinds.len())];
    let reading = match rng.u8(..8) {
        0 => Reading::Nothing,
        1 => Reading::Slowly,
        _ => Reading::All,
    };
    let mut draft = Draft { rng, targets, steps: Vec::new(), reading };
    write(&mut draft);
    let Draft { mut rng, mut steps, reading, .. } = draft;
    if rng.u8(..4) == 0 {
        mutate(&mut rng, &mut steps);
    }
    let patience = Duration::from_millis(rng.u64(1..=1500));
    let ending = match rng.u8(..6) {
        0 => Ending::Reset,
        1 => Ending::Close,
        2 => {
            steps.push(Step::HalfClose);
            Ending::Await(patience)
        }
        // As long as the longest of the service's timeouts.
        3 => Ending::Await(Duration::from_secs(4)),
        _ => Ending::Await(patience),
    };
    Script { kind, steps, reading, ending, source }
}

/// Changes one step, or the order of the steps.
fn mutate(rng: &mut Rng, steps: &mut Vec<Step>) {
    if steps.is_empty() {
        return;
    }
    let at = rng.usize(..steps.len());
    let change = rng.u8(..6);
    match (&mut steps[at], change) {
        (Step::Send(bytes), 0) if !bytes.is_empty() => {
            bytes.truncate(rng.usize(..bytes.len()));
            steps.truncate(at + 1);
        }
        (Step::Send(bytes), 1) if !bytes.is_empty() => {
            for _ in 0..rng.u8(1..=8) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
        }
        (Step::Send(bytes), 2) if !bytes.is_empty() => {
            let noise: Vec<u8> = (0..rng.usize(1..=64)).map(|_| rng.u8(..)).collect();
            let at = rng.usize(..bytes.len());
            bytes.splice(at..at, noise);
        }
        (Step::Send(bytes), 3) => {
            let piece = (bytes.len() / 20).max(1);
            steps[at] = Step::Trickle(std::mem::take(bytes), piece, Duration::from_millis(rng.u64(1..=50)));
        }
        (_, 4) => steps.swap(at, 0),
        (step, _) => {
            let again = step.clone();
            steps.insert(at, again);
        }
    }
}
