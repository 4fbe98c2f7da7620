//! The benchmarks are in the files beside this one; `make bench` runs them.
