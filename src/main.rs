//! The `symbolon` command.

use std::process::ExitCode;

/// A request makes some hundred small allocations, often freed by another thread than made them: glibc's allocator spends
/// twice the time on them (`make bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    symbolon::cli::run(std::env::args_os())
}
