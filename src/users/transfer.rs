//! Users in and out by the million, one JSON object a line: see [`Record`].
//!
//! Import keeps the claim protocol of `names`: names are claimed first, users inserted after, so that at no point a user
//! answers to a name that another one has. Its claims are marked. A claim of an import whose user does not exist was left
//! by one that broke off, or belongs to one that runs beside this: either way the user may be inserted for it at once,
//! under the id that it names, and whoever comes second finds it there. So an import is repeated until it is through, and
//! what is there already stays as it is.

mod export;
mod import;
mod record;

pub use export::Export;
pub use import::{Import, Outcome};
pub use record::{Candidate, Record, Rejection};
