//! The `symbolon` command.

use std::process::ExitCode;

/// A request makes many small allocations, often freed by another thread than made them, which is what this allocator is for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    symbolon::cli::run(std::env::args_os())
}
