use http::HeaderName;

/// The key that algorithm `hash` picks a node by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The user of the session token; without one, the client's address.
    User,
    /// The value of a header; without it, the client's address.
    Header(HeaderName),
}
