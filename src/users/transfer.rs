//! Bulk import and export of users, one JSON object a line: see [`ExportRecord`].
//!
//! Import follows the claim protocol of `names`: it claims names before it inserts users, so that no two users ever have the
//! same name. Import claims are recognisable. An import claim without a user was left by an interrupted import, or belongs
//! to a concurrent one. In both cases this import may insert the user at once under the claimed id, and the other one finds
//! it. So an import can be repeated until it succeeds, and existing users stay as they are.

mod export;
mod import;
mod record;

pub use export::Export;
pub use import::{Import, ImportOutcome};
pub use record::{ExportRecord, ImportCandidate, Rejection};
