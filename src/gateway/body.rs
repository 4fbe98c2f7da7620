//! Bodies on their way through: `request` to a node, `response` back.

mod request;
mod response;

pub(super) use request::{ReadError, RequestBody, Upload};
pub(super) use response::Forwarded;
pub use response::ResponseBody;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
