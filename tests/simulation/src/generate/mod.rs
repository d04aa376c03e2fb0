//! From a seed to a scenario. Each part is drawn from a stream of its own.

mod actions;
mod apps;
mod faults;
mod specs;

use crate::{
    coverage::{FAULTS, STEPS},
    scenario::{Controller, Scenario},
    seed::Stream,
};

/// When the first action may come, in milliseconds: the first versions are up by then, mostly.
const BEGIN: u64 = 6_000;

/// Steps that are over with the last pod.
const SHORT: [&str; 3] = ["setCanaryScale", "no steps", "last step done"];

/// What a seed is to reach besides what chance brings: a step of this kind in its first app, and these kinds of faults there.
/// Seeds take turns, so that each pair is tried equally often.
struct Target {
    step: &'static str,
    faults: Vec<&'static str>,
}

impl Target {
    fn of(seed: u64) -> Self {
        let turn = |n: u64, of: usize| usize::try_from(n % of as u64).unwrap_or(0);
        let round = seed / STEPS.len() as u64;
        let step = STEPS[turn(seed, STEPS.len())];
        let is_short = SHORT.contains(&step);
        // Not every fault finds its moment in a short step, and renewals of the lease are seconds apart.
        let count = if is_short { 4 } else { 3 };
        let mut faults: Vec<_> = (0..count)
            .map(|n| FAULTS[turn(round * count + n, FAULTS.len())])
            .collect();
        if is_short && round.is_multiple_of(3) {
            faults.push("lease");
        }
        Self { step, faults }
    }
}

/// The scenario of a seed.
pub fn scenario(seed: u64) -> Scenario {
    let mut draw = Stream::new(seed, "shape");
    let target = Target::of(seed);
    let two = draw.percent(25) || target.faults.contains(&"lease");
    let controller = Controller {
        replicas: if two { 2 } else { 1 },
        election: two || draw.percent(10),
        audit: !draw.percent(20),
        workers: *draw.pick(&[1, 2, 2, 4]),
    };
    let count = *draw.weighted(&[(60, 1_usize), (25, 2), (15, 3)]);
    let length = draw.between(40, 150) * 1000;
    let apps: Vec<_> = (0..count)
        .map(|i| apps::app(seed, i, (i == 0).then_some(&target)))
        .collect();
    let templates = apps
        .iter()
        .enumerate()
        .flat_map(|(i, app)| specs::templates(seed, i, app))
        .collect();
    let mut actions: Vec<_> = apps
        .iter()
        .enumerate()
        .flat_map(|(i, app)| actions::actions(seed, i, app, length, (i == 0).then_some(&target)))
        .collect();
    actions.sort_by_key(|action| (action.at, action.app));
    let mut scenario = Scenario {
        seed,
        controller,
        apps,
        templates,
        actions,
        faults: Vec::new(),
    };
    scenario.faults = faults::faults(seed, &scenario, length, &target);
    scenario
}
