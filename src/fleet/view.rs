//! A view of the fleet at one time, from the shared store: its instances, its leader, and the operators' choices.

use std::collections::BTreeMap;

use symbolon_balancer::NodeSpec;
use symbolon_partitioner::MAX_WEIGHT;

use crate::{
    clock::Timestamp,
    shared_store::{Balancing, InstanceRecord},
};

/// A view of the fleet. It is empty before the first read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetView {
    /// The live instances by id.
    pub instances: BTreeMap<String, Member>,
    /// The operators' choices for load balancing.
    pub balancing: Balancing,
    /// Whether operators switched tuning on or off; `None` means the setting applies.
    pub tuning: Option<bool>,
    /// Instance id of the leader.
    pub leader: Option<String>,
    /// Time of the read; `None` before the first one.
    pub as_of: Option<Timestamp>,
}

/// An instance and the time of its last heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub record: InstanceRecord,
    pub seen_at: Timestamp,
}

/// A node to balance over: an instance, or a node that an operator added.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetNode {
    pub spec: NodeSpec,
    /// `None` if the node is not an instance.
    pub instance: Option<Member>,
    /// Whether an operator added it.
    pub added: bool,
    /// Whether an operator removed it.
    pub removed: bool,
}

impl FleetNode {
    /// Returns whether it may receive requests, by the registry and the operators' choices. Its health is not considered.
    pub fn takes_requests(&self) -> bool {
        !self.removed && !self.is_draining()
    }

    pub fn is_draining(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.record.draining)
    }
}

impl FleetView {
    /// Returns the instances and the added nodes by id. If an operator added a node under the id of an instance, the
    /// instance's own address is used.
    pub fn nodes(&self) -> BTreeMap<String, FleetNode> {
        let added = self.balancing.added.values().cloned().map(|record| FleetNode {
            spec: record.into(),
            instance: None,
            added: true,
            removed: false,
        });
        let mut nodes: BTreeMap<String, FleetNode> = added.map(|node| (node.spec.id.clone(), node)).collect();
        for (id, instance) in &self.instances {
            let node = FleetNode {
                spec: spec(&instance.record),
                instance: Some(instance.clone()),
                added: nodes.contains_key(id),
                removed: self.balancing.removed.contains(id),
            };
            nodes.insert(id.clone(), node);
        }
        nodes
    }
}

fn spec(record: &InstanceRecord) -> NodeSpec {
    NodeSpec {
        id: record.id.clone(),
        url: record.url.clone(),
        weight: record.weight.clamp(1, MAX_WEIGHT),
        max_connections: u32::try_from(record.max_connections).unwrap_or(u32::MAX),
        region: record.region.clone(),
        zone: record.zone.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_store::NodeRecord;

    fn instance(id: &str, draining: bool) -> (String, Member) {
        let record = InstanceRecord {
            id: id.to_owned(),
            url: format!("http://{id}"),
            weight: 2000,
            region: "r".to_owned(),
            zone: "z".to_owned(),
            version: "1".to_owned(),
            draining,
            current_connections: 0,
            max_connections: u64::MAX,
            average_response_time: 0.0,
            load: None,
            process_id: None,
        };
        (id.to_owned(), Member { record, seen_at: Timestamp::from_millis(0) })
    }

    fn added(id: &str) -> (String, NodeRecord) {
        let record = NodeRecord {
            id: id.to_owned(),
            url: "http://elsewhere".to_owned(),
            weight: 1,
            max_connections: 10,
            region: "r".to_owned(),
            zone: "z".to_owned(),
        };
        (id.to_owned(), record)
    }

    #[test]
    fn instances_and_added_nodes_are_merged_by_id() {
        let view = FleetView {
            instances: BTreeMap::from([instance("a", false), instance("b", true), instance("c", false)]),
            balancing: Balancing {
                added: BTreeMap::from([added("a"), added("x")]),
                removed: ["c".to_owned(), "gone".to_owned()].into(),
                ..Balancing::default()
            },
            ..FleetView::default()
        };
        let nodes = view.nodes();
        assert_eq!(nodes.keys().collect::<Vec<_>>(), ["a", "b", "c", "x"]);
        let takes: Vec<bool> = nodes.values().map(FleetNode::takes_requests).collect();
        assert_eq!(takes, [true, false, false, true]);
        assert!(nodes["a"].added && nodes["x"].added && !nodes["b"].added);
        assert_eq!((nodes["a"].spec.url.as_str(), nodes["a"].spec.max_connections), ("http://a", u32::MAX));
        assert_eq!(nodes["a"].spec.weight, MAX_WEIGHT, "the weight is clamped");
        assert_eq!((nodes["x"].spec.url.as_str(), nodes["x"].instance.is_none()), ("http://elsewhere", true));
    }
}
