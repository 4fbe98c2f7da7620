//! The `symbolon` command.

use std::process::ExitCode;

/// A request makes many small allocations, and another thread often frees them. mimalloc is fast at both.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    symbolon::cli::run(std::env::args_os())
}
