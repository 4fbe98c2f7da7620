//! Slot layout of a Cluster, parsed from `CLUSTER SLOTS`.

use std::collections::{BTreeMap, BTreeSet};

use fred::types::Value;

/// Address of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layout {
    /// Last slot and primary of each range, by its first slot.
    ranges: BTreeMap<u16, (u16, Address)>,
    /// Host names of primaries and replicas that are announced by an IP address. Certificates are verified for them.
    names: BTreeMap<Address, String>,
}

impl Layout {
    /// Parses the answer of the node at `host`. Returns `None` if it is malformed or contains no slots.
    pub(super) fn parse(answer: Value, host: &str) -> Option<Self> {
        let mut layout = Self::default();
        for range in answer.into_array() {
            let mut fields = range.into_array().into_iter();
            let (first, last) = (fields.next()?.convert().ok()?, fields.next()?.convert().ok()?);
            let mut nodes = Vec::new();
            for node in fields {
                let (address, name) = parse_node(node, host)?;
                layout.names.extend(name.map(|name| (address.clone(), name)));
                nodes.push(address);
            }
            layout.ranges.insert(first, (last, nodes.into_iter().next()?));
        }
        (!layout.ranges.is_empty()).then_some(layout)
    }

    /// Returns the primary that owns a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        let (_, (last, primary)) = self.ranges.range(..=slot).next_back()?;
        (slot <= *last).then_some(primary)
    }

    /// Returns all primaries, each once.
    pub(super) fn primaries(&self) -> impl Iterator<Item = &Address> {
        self.ranges.values().map(|(_, primary)| primary).collect::<BTreeSet<_>>().into_iter()
    }

    /// Returns the host name of a node, if it is announced besides its address.
    pub(super) fn name(&self, address: &Address) -> Option<String> {
        self.names.get(address).cloned()
    }
}

/// Parses a node: host, port, id and, since Redis 7, a list of metadata. A missing host means that of the answering node.
fn parse_node(node: Value, default_host: &str) -> Option<(Address, Option<String>)> {
    let mut fields = node.into_array().into_iter();
    let host = fields.next()?.as_string().filter(|host| !host.is_empty() && host != "?");
    let port = fields.next()?.convert().ok()?;
    let metadata = fields.nth(1).unwrap_or(Value::Null).into_array();
    let name = metadata.chunks(2).find(|pair| pair[0].as_str().as_deref() == Some("hostname"));
    let name = name.and_then(|pair| pair.get(1)?.as_string());
    let host = host.unwrap_or_else(|| default_host.to_owned());
    Some((Address { host, port }, name.filter(|name| !name.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: Value, port: i64, more: &[&str]) -> Value {
        let more = Value::Array(more.iter().map(|text| Value::from(*text)).collect());
        Value::Array(vec![host, Value::from(port), Value::from("id"), more])
    }

    fn range(first: i64, last: i64, nodes: &[Value]) -> Value {
        Value::Array([Value::from(first), Value::from(last)].into_iter().chain(nodes.iter().cloned()).collect())
    }

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn a_slot_is_owned_by_the_primary_of_its_range() {
        let answer = Value::Array(vec![
            range(0, 99, &[node("a".into(), 1, &[]), node("b".into(), 2, &[])]),
            range(200, 16383, &[node(Value::Null, 3, &[])]),
        ]);
        let layout = Layout::parse(answer, "asked").expect("a layout");
        assert_eq!(layout.owner(0), Some(&address("a", 1)));
        assert_eq!(layout.owner(99), Some(&address("a", 1)));
        assert_eq!(layout.owner(100), None);
        assert_eq!(layout.owner(16383), Some(&address("asked", 3)));
        assert_eq!(layout.primaries().count(), 2);
    }

    #[test]
    fn announced_host_names_are_kept_also_for_replicas() {
        let nodes = [
            node("10.0.0.1".into(), 1, &["hostname", "a.example"]),
            node("10.0.0.2".into(), 1, &["hostname", "b.example"]),
        ];
        let layout = Layout::parse(Value::Array(vec![range(0, 16383, &nodes)]), "x").expect("a layout");
        assert_eq!(layout.name(&address("10.0.0.2", 1)).as_deref(), Some("b.example"));
        assert_eq!(layout.name(&address("10.0.0.3", 1)), None);
    }

    #[test]
    fn an_answer_without_slots_is_rejected() {
        for answer in [Value::Array(vec![]), Value::Null, Value::from("OK"), Value::Array(vec![Value::from(1)])] {
            assert_eq!(Layout::parse(answer, "x"), None);
        }
    }
}
