use http::HeaderName;

/// What requests are held together by where the algorithm is `hash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The user whose token it is; without one, the client's address.
    User,
    /// A header; without it, the client's address.
    Header(HeaderName),
}
