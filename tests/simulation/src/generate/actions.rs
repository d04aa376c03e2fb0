//! What people do.

use serde_json::{Value, json};

use crate::{
    generate::{BEGIN, Target, specs},
    scenario::{Action, App, What},
    seed::Stream,
};

/// What is done to one app within `length` milliseconds.
pub(super) fn actions(seed: u64, index: usize, app: &App, length: u64, target: Option<&Target>) -> Vec<Action> {
    let mut draw = Stream::new(seed, &format!("actions {index}"));
    let mut out = Vec::new();
    let mut at = BEGIN + draw.between(0, 4_000);
    let mut gone = false;
    // A release is what everything else is about.
    let mut what = What::Image(if target.is_some() {
        1
    } else {
        1 + draw.below(app.images.len() - 1)
    });
    while at < length {
        gone = match &what {
            What::Delete => true,
            What::Recreate => false,
            _ => gone,
        };
        out.push(Action { at, app: index, what });
        at += match draw.below(10) {
            // In the middle of what the last one began.
            0..3 => draw.between(5, 2_500),
            3..7 => draw.between(2_500, 15_000),
            _ => draw.between(15_000, 45_000),
        };
        let first = out.len() == 1 && target.is_some();
        what = match target {
            // The first release of a target is not disturbed too soon, unless by what it is about.
            Some(target) if first => {
                at += draw.between(2_000, 8_000);
                if target.step == "aborted" {
                    What::Abort
                } else {
                    one(&mut draw, app)
                }
            }
            _ if gone => What::Recreate,
            _ => one(&mut draw, app),
        };
    }
    out
}

fn one(draw: &mut Stream, app: &App) -> What {
    match *draw.weighted(&[
        (28, "image"),
        (8, "rollback"),
        (8, "scale"),
        (9, "abort"),
        (6, "retry"),
        (16, "promote"),
        (5, "full"),
        (3, "pause"),
        (6, "resume"),
        (6, "edit"),
        (1, "delete"),
        (3, "restart"),
        (1, "pod"),
    ]) {
        "rollback" => What::Rollback,
        "scale" => What::Scale(u32::try_from(*draw.pick(&[0, 1, 2, 3, 4, 6, 8])).unwrap_or(1)),
        "abort" => What::Abort,
        "retry" => What::Retry,
        "promote" => What::Promote,
        "full" => What::PromoteFull,
        "pause" => What::Pause(true),
        "resume" => What::Pause(false),
        "edit" => What::Edit(edit(draw, app)),
        "delete" => What::Delete,
        "restart" => What::Restart,
        "pod" => What::DeletePod,
        _ => What::Image(draw.below(app.images.len())),
    }
}

/// A merge patch in the middle of whatever goes on.
fn edit(draw: &mut Stream, app: &App) -> Value {
    match draw.below(6) {
        0 => json!({"spec": {"progressDeadlineSeconds": *draw.pick(&[20, 40])}}),
        1 => json!({"spec": {"minReadySeconds": draw.between(0, 3)}}),
        2 => json!({"spec": {"revisionHistoryLimit": draw.between(0, 3)}}),
        3 if !app.router => {
            json!({"spec": {"strategy": {"canary": {"maxSurge": 1, "maxUnavailable": draw.between(0, 1)}}}})
        }
        4 => {
            // A new template and new steps at once.
            let steps = specs::steps(draw, &app.name, app.router);
            json!({"spec": {
                "strategy": {"canary": {"steps": steps}},
                "template": {"metadata": {"annotations": {"edited": format!("{}", draw.between(0, 99))}}},
            }})
        }
        _ => json!({"spec": {"strategy": {"canary": {"steps": specs::steps(draw, &app.name, app.router)}}}}),
    }
}
