//! What holds for every policy.
