//! Bodies of forwarded requests and responses.

mod request;
mod response;

pub(super) use request::{ReadError, RequestBody, UploadProgress};
pub(super) use response::ForwardedBody;
pub use response::ResponseBody;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
