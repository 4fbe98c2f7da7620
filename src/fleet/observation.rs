//! What the scaler sees of a fleet: its demand from what every instance is offered, and what holds it up.

use std::{collections::BTreeMap, time::Duration};

use symbolon_scaler::{Connections, Observation};

use super::FleetView;
use crate::{
    model::{ByClass, Load},
    shared_store::InstanceRecord,
};

/// Why the demand of a fleet can't be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DemandUnknown {
    /// The fleet can't be seen.
    #[error("the fleet's registry does not answer")]
    Stale,
    /// There is none.
    #[error("no instance is registered")]
    NoInstances,
    /// An instance has not measured anything yet, or runs a version that does not.
    #[error("instance {0} has not said what it is offered")]
    NoLoad(String),
    /// No instance has seen enough requests of a kind that is offered.
    #[error("what a request of class {0} costs is not known yet")]
    NoCost(&'static str),
}

impl FleetView {
    /// How many instances, each as busy as it is meant to be, the requests need that are offered to the fleet.
    ///
    /// # Errors
    /// [`DemandUnknown`] if anything that matters is not known: nothing is made up.
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

    /// What a policy decides on; `wanted` is how many instances were asked for and may still be starting.
    pub fn observation(&self, wanted: u32) -> Observation {
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
            starting: wanted.saturating_sub(count(ready.len())),
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

/// What a request of each class costs where that is known, weighed by how many of them each instance is offered.
fn mean_cost(loads: &[&Load]) -> ByClass<Option<f64>> {
    let weighed = loads.iter().fold(ByClass::<(f64, f64)>::default(), |sums, load| {
        sums.zip(load.offered.zip(load.cost)).map(|((sum, weight), (offered, cost))| match cost {
            // Whoever is offered none now may be the only one that knows.
            Some(cost) => (sum + (offered + f64::EPSILON) * cost, weight + offered + f64::EPSILON),
            None => (sum, weight),
        })
    });
    weighed.map(|(sum, weight)| (weight > 0.0).then(|| sum / weight))
}

/// The store that holds up at least half of the instances.
fn bottleneck(loads: &[&Load]) -> Option<String> {
    let mut held_up = BTreeMap::<&str, usize>::new();
    for store in loads.iter().flat_map(|load| &load.slow_stores) {
        *held_up.entry(store).or_default() += 1;
    }
    held_up
        .into_iter()
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
    fn demand_is_what_is_offered_times_what_it_costs_over_what_an_instance_may_use() {
        let view = view(vec![Some(load(6000.0, Some(100e-6))), Some(load(4000.0, Some(100e-6)))]);
        assert!((view.demand().expect("known") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn demand_does_not_depend_on_over_how_many_instances_it_is_spread() {
        let one = view(vec![Some(load(9000.0, Some(1e-4)))]).demand().expect("known");
        let three = view(vec![Some(load(3000.0, Some(1e-4))); 3]).demand().expect("known");
        assert!((one - three).abs() < 1e-9);
    }

    #[test]
    fn an_instance_that_has_not_learnt_costs_yet_takes_those_of_the_others() {
        let view = view(vec![Some(load(5000.0, Some(1e-4))), Some(load(5000.0, None))]);
        assert!((view.demand().expect("known") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(view(vec![]).demand(), Err(DemandUnknown::NoInstances));
        assert_eq!(view(vec![Some(load(1.0, Some(1.0))), None]).demand(), Err(DemandUnknown::NoLoad("i-1".into())));
        assert_eq!(view(vec![Some(load(1.0, None))]).demand(), Err(DemandUnknown::NoCost("read")));
        assert_eq!(view(vec![Some(load(0.0, None))]).demand(), Ok(0.0), "nothing is offered for certain");
    }

    #[test]
    fn instances_that_were_asked_for_and_are_not_there_yet_are_starting() {
        let seen = view(vec![Some(load(1.0, Some(1.0)))]).observation(3);
        assert_eq!((seen.ready, seen.starting, seen.draining), (1, 2, 0));
        assert_eq!((seen.utilization(), seen.cpu_percent, seen.memory_percent), (Some(0.8), Some(20.0), None));
        assert_eq!(seen.response_time, Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_store_is_the_bottleneck_if_it_holds_up_half_of_the_fleet() {
        let slow = |stores: &[&str]| {
            Some(Load { slow_stores: stores.iter().map(|&store| store.to_owned()).collect(), ..load(1.0, Some(1.0)) })
        };
        assert_eq!(view(vec![slow(&["b"]), slow(&[]), slow(&[])]).observation(3).bottleneck, None);
        assert_eq!(view(vec![slow(&["b"]), slow(&["a", "b"]), slow(&[])]).observation(3).bottleneck, Some("b".into()));
    }
}
