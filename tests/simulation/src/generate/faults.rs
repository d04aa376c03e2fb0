//! What goes wrong.

use crate::{
    crash_points::{LATE, POSSIBLE},
    generate::{BEGIN, SHORT, Target},
    scenario::{Fault, FaultKind, Foreign, Metrics, Moment, Requests, Scenario},
    seed::Stream,
};

/// The faults of a scenario.
pub(super) fn faults(seed: u64, scenario: &Scenario, length: u64, target: &Target) -> Vec<Fault> {
    let mut draw = Stream::new(seed, "faults");
    let count = *draw.weighted(&[(10, 0), (15, 1), (20, 2), (25, 4), (20, 6), (10, 9)]);
    let mut out: Vec<Fault> = (0..count)
        .map(|_| {
            // Most of them close to something that people do: that is when the controller is at work.
            let at = if !scenario.actions.is_empty() && draw.percent(75) {
                draw.pick(&scenario.actions).at + draw.between(0, 6_000)
            } else {
                draw.between(BEGIN / 3, length)
            };
            Fault {
                at,
                during: None,
                app: draw.below(scenario.apps.len()),
                kind: one(&mut draw, scenario),
            }
        })
        .collect();
    if count == 0 {
        // One seed in ten knows no faults at all.
        return out;
    }
    let from = scenario
        .actions
        .first()
        .map_or(0, |action| action.at.saturating_sub(1_000));
    let during = |kind: FaultKind| Fault {
        at: from,
        during: Some(target.step.to_owned()),
        app: 0,
        kind,
    };
    for name in &target.faults {
        let kind = meant(of_name(&mut draw, scenario, name));
        if let FaultKind::Stale { on, .. } = &kind {
            // Lists come after a restart or a lost watch.
            out.push(during(FaultKind::WatchGone {
                resource: on.resource.clone(),
                times: 1,
            }));
        }
        out.push(during(kind));
    }
    if SHORT.contains(&target.step) {
        // So slow that something can happen meanwhile.
        out.push(during(FaultKind::SlowPods { by: 10_000, ms: 15_000 }));
    }
    let mut draw = Stream::new(seed, "crash points");
    let times = *draw.weighted(&[(35, 0), (40, 1), (25, 2)]);
    for number in 0..=times {
        let alone = number == times;
        let chosen = POSSIBLE.iter().filter(|(chance, _)| draw.percent(*chance));
        let points = chosen.map(|(_, (last, next))| ((*last).to_owned(), (*next).to_owned()));
        let points = if alone {
            let (last, next) = draw.weighted(LATE);
            vec![((*last).to_owned(), (*next).to_owned())]
        } else {
            points.collect()
        };
        out.push(Fault {
            // Armed from the beginning of some action on: it waits for its moment.
            at: if alone || scenario.actions.is_empty() || draw.percent(30) {
                0
            } else {
                draw.pick(&scenario.actions).at
            },
            during: None,
            app: 0,
            kind: FaultKind::CrashBetween {
                points,
                moment: if draw.percent(50) {
                    Moment::Before
                } else {
                    Moment::After
                },
                down: *draw.pick(&[200, 1_000, 4_000, 20_000]),
            },
        });
    }
    out.sort_by_key(|fault| fault.at);
    out
}

fn one(draw: &mut Stream, scenario: &Scenario) -> FaultKind {
    let leases = if scenario.controller.election { 6 } else { 0 };
    let name = *draw.weighted(&[
        (12, "409"),
        (6, "429"),
        (12, "5xx"),
        (6, "5xx-after"),
        (5, "hang"),
        (5, "hang-after"),
        (5, "broken"),
        (5, "broken-after"),
        (5, "slow"),
        (5, "stale"),
        (9, "watch-late"),
        (5, "watch-closed"),
        (5, "watch-410"),
        (8, "crash"),
        (leases, "lease"),
        (4, "clock"),
        (6, "provider"),
        (3, "no-data"),
        (7, "route"),
        (4, "service"),
        (5, "replicaset"),
        (5, "pods"),
        (3, "api-down"),
    ]);
    of_name(draw, scenario, name)
}

/// A fault of a kind as [`FaultKind::name`] calls it.
fn of_name(draw: &mut Stream, scenario: &Scenario, name: &str) -> FaultKind {
    let moment = if name.ends_with("-after") {
        Moment::After
    } else {
        Moment::Before
    };
    match name {
        "409" => FaultKind::Answer {
            on: writes(draw),
            code: 409,
            moment: Moment::Before,
        },
        "429" => FaultKind::Answer {
            on: any(draw),
            code: 429,
            moment: Moment::Before,
        },
        "5xx" | "5xx-after" => FaultKind::Answer {
            on: if moment == Moment::Before {
                any(draw)
            } else {
                writes(draw)
            },
            code: *draw.pick(&[500, 503, 504]),
            moment,
        },
        "hang" | "hang-after" => FaultKind::Hang {
            on: writes(draw),
            moment,
        },
        "broken" | "broken-after" => FaultKind::Disconnect {
            on: if moment == Moment::Before {
                any(draw)
            } else {
                writes(draw)
            },
            moment,
        },
        "slow" => FaultKind::Slow {
            on: any(draw),
            ms: *draw.pick(&[100, 1_000, 4_000]),
        },
        "stale" => FaultKind::Stale {
            on: requests("list", &resource(draw), "", draw.between(1, 3)),
            versions: draw.between(1, 40),
        },
        "watch-late" => FaultKind::WatchLate {
            resource: resource(draw),
            ms: *draw.pick(&[50, 300, 1_500, 6_000]),
            times: times(draw),
        },
        "watch-closed" => FaultKind::WatchClosed {
            resource: resource(draw),
            times: times(draw),
        },
        "watch-410" => FaultKind::WatchGone {
            resource: resource(draw),
            times: times(draw),
        },
        "crash" => FaultKind::Crash {
            down: *draw.pick(&[100, 1_000, 5_000, 25_000]),
        },
        "lease" => {
            let ms = *draw.pick(&[3_000, 9_000, 12_000, 20_000, 40_000]);
            if draw.percent(50) {
                FaultKind::LeaseHangs { ms }
            } else {
                FaultKind::LeaseFails { ms }
            }
        }
        "clock" => FaultKind::ClockJump {
            replica: draw.below(scenario.controller.replicas),
            seconds: *draw.pick(&[-60, -20, -5, -1, 1, 5, 20, 60]),
        },
        "provider" => FaultKind::Provider {
            how: *draw.pick(&[Metrics::Down, Metrics::Slow, Metrics::Hangs, Metrics::Fails]),
            ms: *draw.pick(&[2_000, 8_000, 25_000]),
        },
        "no-data" => FaultKind::Provider {
            how: *draw.pick(&[Metrics::NaN, Metrics::Empty]),
            ms: *draw.pick(&[2_000, 8_000, 25_000]),
        },
        "route" => FaultKind::Route(*draw.weighted(&[
            (35, Foreign::Label),
            (25, Foreign::Rule),
            (25, Foreign::Weights),
            (15, Foreign::Gone),
        ])),
        "service" => {
            let which = draw.below(2);
            if draw.percent(50) {
                FaultKind::DeleteService {
                    which,
                    back: *draw.pick(&[500, 3_000, 10_000]),
                }
            } else {
                FaultKind::EditService { which }
            }
        }
        "replicaset" => {
            let newest = draw.below(3);
            if draw.percent(50) {
                FaultKind::DeleteReplicaSet { newest }
            } else {
                FaultKind::ScaleReplicaSet {
                    newest,
                    replicas: u32::try_from(draw.between(0, 5)).unwrap_or(0),
                }
            }
        }
        "pods" => {
            if draw.percent(50) {
                FaultKind::SlowPods {
                    by: *draw.pick(&[2_000, 10_000]),
                    ms: *draw.pick(&[3_000, 15_000]),
                }
            } else {
                FaultKind::KillPods {
                    count: draw.below(3) + 1,
                }
            }
        }
        _ => FaultKind::ApiDown {
            ms: *draw.pick(&[500, 4_000, 15_000]),
        },
    }
}

/// A fault that is to strike at a step takes requests that there surely are.
fn meant(mut kind: FaultKind) -> FaultKind {
    if let FaultKind::Answer { on, .. } | FaultKind::Disconnect { on, .. } | FaultKind::Slow { on, .. } = &mut kind
        && on.verb != "write"
    {
        *on = requests("any", "", "", u64::from(on.times));
    }
    kind
}

fn requests(verb: &str, resource: &str, subresource: &str, times: u64) -> Requests {
    Requests {
        verb: verb.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        times: u32::try_from(times).unwrap_or(1),
    }
}

fn times(draw: &mut Stream) -> u32 {
    *draw.weighted(&[(50, 1), (30, 2), (15, 4), (5, 12)])
}

/// Writes of some resource, or of all.
fn writes(draw: &mut Stream) -> Requests {
    let times = u64::from(times(draw));
    match *draw.pick(&[
        "",
        "",
        "rollouts",
        "rollouts/status",
        "replicasets",
        "services",
        "httproutes",
        "analysisruns",
    ]) {
        "rollouts/status" => requests("write", "rollouts", "status", times),
        resource => requests("write", resource, "", times),
    }
}

fn any(draw: &mut Stream) -> Requests {
    if draw.percent(60) {
        return writes(draw);
    }
    let verb = *draw.pick(&["get", "list", "watch", "any"]);
    requests(verb, &resource(draw), "", u64::from(times(draw)))
}

fn resource(draw: &mut Stream) -> String {
    let all = [
        "",
        "rollouts",
        "rollouts",
        "replicasets",
        "replicasets",
        "services",
        "httproutes",
        "analysisruns",
        "endpointslices",
    ];
    (*draw.pick(&all)).to_owned()
}
