//! Apps: their versions and their Rollouts.

use crate::{
    generate::{Target, specs},
    scenario::{App, Image},
    seed::Stream,
};

/// The n-th app of a seed.
pub(super) fn app(seed: u64, index: usize, target: Option<&Target>) -> App {
    let mut draw = Stream::new(seed, &format!("app {index}"));
    let name = format!("app-{}", char::from(b'a' + u8::try_from(index).unwrap_or(0)));
    let namespace = if draw.percent(20) { "shop" } else { "default" }.to_owned();
    let step = target.map(|t| t.step);
    let router =
        draw.percent(60) || step == Some("setCanaryScale") || target.is_some_and(|t| t.faults.contains(&"route"));
    let versions = draw.between(3, 6);
    // What a release is to reach it reaches with sound versions, mostly.
    let sound = if target.is_some() && draw.percent(85) { 1 } else { 0 };
    let images = (0..versions).map(|n| image(&mut draw, n <= sound)).collect();
    let rollout = specs::rollout(seed, index, &name, &namespace, router, step);
    App {
        name,
        namespace,
        rollout,
        router,
        other_rules: if draw.percent(20) { 1 } else { 0 },
        rps: 20.0,
        images,
    }
}

/// A version.
fn image(draw: &mut Stream, is_sound: bool) -> Image {
    let start = *draw.pick(&[200, 500, 1_000, 1_500, 3_000]);
    let sound = Image {
        errors: 0,
        latency: 20,
        start: Some(start),
        exists: true,
        crash: None,
        moody: 0,
        stop: *draw.pick(&[1_000, 1_500, 2_000, 5_000]),
    };
    if is_sound {
        return sound;
    }
    match *draw.weighted(&[
        (55, "sound"),
        (14, "errors"),
        (6, "few errors"),
        (6, "latency"),
        (5, "slow start"),
        (4, "never ready"),
        (3, "missing"),
        (4, "crashes"),
        (3, "moody"),
    ]) {
        "errors" => Image {
            errors: *draw.pick(&[10, 30, 100]),
            ..sound
        },
        "few errors" => Image { errors: 2, ..sound },
        "latency" => Image { latency: 900, ..sound },
        "slow start" => Image {
            start: Some(draw.between(8, 40) * 1000),
            ..sound
        },
        "never ready" => Image { start: None, ..sound },
        "missing" => Image { exists: false, ..sound },
        "crashes" => Image {
            crash: Some(draw.between(2, 20) * 1000),
            ..sound
        },
        "moody" => Image {
            crash: draw.percent(50).then_some(7_000),
            moody: 40,
            ..sound
        },
        _ => sound,
    }
}
