//! The balancer's view of nodes: how many requests are under way on each and how long they take.
//!
//! A [`Lease`] stands for one request on a node. It counts as in flight from its making to its drop, so a request that
//! is cancelled, or whose client goes away in the middle of the body, is counted and ended like any other.

mod lease;
mod node;

pub use lease::{Lease, Outcome};
pub use node::{Node, NodeSpec, NodeStats};
