//! Which node of a Cluster has which slots, as `CLUSTER SLOTS` tells it.

use std::collections::{BTreeMap, BTreeSet};

use fred::types::Value;

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layout {
    /// The first slot of each range, with its last one and its primary.
    ranges: BTreeMap<u16, (u16, Address)>,
    /// Host names of nodes, replicas too, that are announced by an address. A certificate is checked for them.
    names: BTreeMap<Address, String>,
}

impl Layout {
    /// Reads the answer of the node at `host`; none if it makes no sense or tells of no slots.
    pub(super) fn read(answer: Value, host: &str) -> Option<Self> {
        let mut layout = Self::default();
        for range in answer.into_array() {
            let mut fields = range.into_array().into_iter();
            let (first, last) = (fields.next()?.convert().ok()?, fields.next()?.convert().ok()?);
            let mut nodes = Vec::new();
            for node in fields {
                let (address, name) = read_node(node, host)?;
                layout.names.extend(name.map(|name| (address.clone(), name)));
                nodes.push(address);
            }
            layout.ranges.insert(first, (last, nodes.into_iter().next()?));
        }
        (!layout.ranges.is_empty()).then_some(layout)
    }

    /// The primary that has a slot.
    pub(super) fn holder(&self, slot: u16) -> Option<&Address> {
        let (_, (last, primary)) = self.ranges.range(..=slot).next_back()?;
        (slot <= *last).then_some(primary)
    }

    /// All primaries, each once.
    pub(super) fn primaries(&self) -> impl Iterator<Item = &Address> {
        self.ranges.values().map(|(_, primary)| primary).collect::<BTreeSet<_>>().into_iter()
    }

    /// The host name of a node, if it is announced beside its address.
    pub(super) fn name(&self, address: &Address) -> Option<String> {
        self.names.get(address).cloned()
    }
}

/// A node: host, port, id, and since Redis 7 more names. A host that is not told is that of the node that answers.
fn read_node(node: Value, default_host: &str) -> Option<(Address, Option<String>)> {
    let mut fields = node.into_array().into_iter();
    let host = fields.next()?.as_string().filter(|host| !host.is_empty() && host != "?");
    let port = fields.next()?.convert().ok()?;
    let more = fields.nth(1).unwrap_or(Value::Null).into_array();
    let name = more.chunks(2).find(|pair| pair[0].as_str().as_deref() == Some("hostname"));
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
    fn a_slot_is_held_by_the_primary_of_its_range() {
        let answer = Value::Array(vec![
            range(0, 99, &[node("a".into(), 1, &[]), node("b".into(), 2, &[])]),
            range(200, 16383, &[node(Value::Null, 3, &[])]),
        ]);
        let layout = Layout::read(answer, "asked").expect("a layout");
        assert_eq!(layout.holder(0), Some(&address("a", 1)));
        assert_eq!(layout.holder(99), Some(&address("a", 1)));
        assert_eq!(layout.holder(100), None);
        assert_eq!(layout.holder(16383), Some(&address("asked", 3)));
        assert_eq!(layout.primaries().count(), 2);
    }

    #[test]
    fn a_host_name_beside_an_address_is_kept_for_replicas_too() {
        let nodes = [
            node("10.0.0.1".into(), 1, &["hostname", "a.example"]),
            node("10.0.0.2".into(), 1, &["hostname", "b.example"]),
        ];
        let layout = Layout::read(Value::Array(vec![range(0, 16383, &nodes)]), "x").expect("a layout");
        assert_eq!(layout.name(&address("10.0.0.2", 1)).as_deref(), Some("b.example"));
        assert_eq!(layout.name(&address("10.0.0.3", 1)), None);
    }

    #[test]
    fn an_answer_without_slots_is_no_layout() {
        for answer in [Value::Array(vec![]), Value::Null, Value::from("OK"), Value::Array(vec![Value::from(1)])] {
            assert_eq!(Layout::read(answer, "x"), None);
        }
    }
}
