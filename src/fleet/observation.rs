//! The scaler's input: the demand of the fleet from the load of its instances, and the store that limits it.

use std::{collections::BTreeMap, time::Duration};

use symbolon_scaler::{Connections, Observation};

use super::FleetView;
use crate::{
    model::{ByClass, Load},
    shared_store::InstanceRecord,
};

/// Why the demand of a fleet is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DemandUnknown {
    #[error("the fleet's registry does not answer")]
    Stale,
    #[error("no instance is registered")]
    NoInstances,
    /// An instance has not measured its load yet, or runs a version that does not report it.
    #[error("instance {0} has not reported its load yet")]
    NoLoad(String),
    /// No instance has measured enough requests of a class that arrives now.
    #[error("the cost of a request of class {0} has not been measured yet")]
    NoCost(&'static str),
}

impl FleetView {
    /// Returns the number of instances at target utilization that the offered load of the fleet needs.
    ///
    /// # Errors
    /// [`DemandUnknown`] if an input is missing. Nothing is estimated.
    pub fn demand(&self) -> Result<f64, DemandUnknown> {
        let loads = self
            .instances
            .iter()
            .map(|(id, member)| member.record.load.as_ref().ok_or_else(|| DemandUnknown::NoLoad(id.clone())))
            .collect::<Result<Vec<&Load>, _>>()?;
        if loads.is_empty() {
            return Err(DemandUnknown::NoInstances);
        }
        let names = ByClass { login: "login", read: "read", change: "change" };
        let mut cores = 0.0;
        for ((name, offered), cost) in names.zip(sum(&loads)).zip(mean_cost(&loads)).into_array() {
            if offered > 0.0 {
                cores += offered * cost.ok_or(DemandUnknown::NoCost(name))?;
            }
        }
        let usable: f64 = loads.iter().map(|load| load.usable_cores).sum::<f64>() / loads.len() as f64;
        Ok(cores / usable)
    }

    /// Returns the input of a scaling policy. `desired` is the number of instances last requested; those that are not ready
    /// count as starting.
    pub fn observation(&self, desired: u32) -> Observation {
        let nodes: Vec<_> =
            self.nodes().into_values().filter_map(|node| Some((node.takes_requests(), node.instance?))).collect();
        let records = |takes: bool| nodes.iter().filter(move |(is, _)| *is == takes).map(|(_, member)| &member.record);
        let ready: Vec<&InstanceRecord> = records(true).collect();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let loads: Vec<&Load> = ready.iter().filter_map(|record| record.load.as_ref()).collect();
        let times: Vec<f64> =
            ready.iter().map(|record| record.average_response_time).filter(|time| *time > 0.0).collect();
        Observation {
            ready: count(ready.len()),
            starting: desired.saturating_sub(count(ready.len())),
            draining: count(records(false).count()),
            connections: ready
                .iter()
                .map(|record| Connections { current: record.current_connections, max: record.max_connections })
                .collect(),
            demand: self.demand().ok(),
            bottleneck: bottleneck(&loads),
            cpu_percent: mean(loads.iter().filter_map(|load| load.cpu_percent)),
            memory_percent: mean(loads.iter().filter_map(|load| load.memory_percent)),
            response_time: mean(times.into_iter()).map(Duration::from_secs_f64),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn sum(loads: &[&Load]) -> ByClass<f64> {
    loads.iter().fold(ByClass::default(), |sum, load| sum.zip(load.offered).map(|(a, b)| a + b))
}

/// Returns the mean cost per request of each class, weighted by each instance's offered load.
fn mean_cost(loads: &[&Load]) -> ByClass<Option<f64>> {
    let weighted = loads.iter().fold(ByClass::<(f64, f64)>::default(), |sums, load| {
        sums.zip(load.offered.zip(load.cost)).map(|((sum, weight), (offered, cost))| match cost {
            // An instance without load now may be the only one with a measured cost.
            Some(cost) => (sum + (offered + f64::EPSILON) * cost, weight + offered + f64::EPSILON),
            None => (sum, weight),
        })
    });
    weighted.map(|(sum, weight)| (weight > 0.0).then(|| sum / weight))
}

/// Returns the store that is slow for the most instances, if that is at least half of them.
fn bottleneck(loads: &[&Load]) -> Option<String> {
    let mut slow = BTreeMap::<&str, usize>::new();
    for store in loads.iter().flat_map(|load| &load.slow_stores) {
        *slow.entry(store).or_default() += 1;
    }
    slow.into_iter()
        .filter(|(_, count)| 2 * count >= loads.len())
        .max_by_key(|(_, count)| *count)
        .map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, fleet::Member};

    fn load(read: f64, cost: Option<f64>) -> Load {
        Load {
            offered: ByClass { read, ..ByClass::default() },
            cost: ByClass { read: cost, ..ByClass::default() },
            usable_cores: 0.5,
            used_cores: 0.1,
            memory_bytes: None,
            cpu_percent: Some(20.0),
            memory_percent: None,
            slow_stores: Vec::new(),
        }
    }

    fn view(loads: Vec<Option<Load>>) -> FleetView {
        let members = loads.into_iter().enumerate().map(|(index, load)| {
            let record = InstanceRecord {
                id: format!("i-{index}"),
                url: String::new(),
                weight: 1,
                region: String::new(),
                zone: String::new(),
                version: String::new(),
                draining: false,
                current_connections: 8,
                max_connections: 10,
                average_response_time: 0.5,
                load,
                process_id: None,
            };
            (record.id.clone(), Member { record, seen_at: Timestamp::from_millis(0) })
        });
        FleetView { instances: members.collect(), ..FleetView::default() }
    }

    #[test]
    fn demand_is_offered_load_times_cost_over_usable_cores() {
        let view = view(vec![Some(load(6000.0, Some(100e-6))), Some(load(4000.0, Some(100e-6)))]);
        assert!((view.demand().expect("known") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn demand_does_not_depend_on_the_number_of_instances() {
        let one = view(vec![Some(load(9000.0, Some(1e-4)))]).demand().expect("known");
        let three = view(vec![Some(load(3000.0, Some(1e-4))); 3]).demand().expect("known");
        assert!((one - three).abs() < 1e-9);
    }

    #[test]
    fn an_instance_without_measured_costs_uses_those_of_the_others() {
        let view = view(vec![Some(load(5000.0, Some(1e-4))), Some(load(5000.0, None))]);
        assert!((view.demand().expect("known") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn demand_is_unknown_if_an_input_is_missing() {
        assert_eq!(view(vec![]).demand(), Err(DemandUnknown::NoInstances));
        assert_eq!(view(vec![Some(load(1.0, Some(1.0))), None]).demand(), Err(DemandUnknown::NoLoad("i-1".into())));
        assert_eq!(view(vec![Some(load(1.0, None))]).demand(), Err(DemandUnknown::NoCost("read")));
        assert_eq!(view(vec![Some(load(0.0, None))]).demand(), Ok(0.0), "without load, costs do not matter");
    }

    #[test]
    fn requested_instances_that_are_not_ready_count_as_starting() {
        let seen = view(vec![Some(load(1.0, Some(1.0)))]).observation(3);
        assert_eq!((seen.ready, seen.starting, seen.draining), (1, 2, 0));
        assert_eq!((seen.utilization(), seen.cpu_percent, seen.memory_percent), (Some(0.8), Some(20.0), None));
        assert_eq!(seen.response_time, Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_store_is_the_bottleneck_if_it_is_slow_for_half_of_the_fleet() {
        let slow = |stores: &[&str]| {
            Some(Load { slow_stores: stores.iter().map(|&store| store.to_owned()).collect(), ..load(1.0, Some(1.0)) })
        };
        assert_eq!(view(vec![slow(&["b"]), slow(&[]), slow(&[])]).observation(3).bottleneck, None);
        assert_eq!(view(vec![slow(&["b"]), slow(&["a", "b"]), slow(&[])]).observation(3).bottleneck, Some("b".into()));
    }
}
