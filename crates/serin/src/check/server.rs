//! The API server itself: its version, what it serves beside its own kinds, and what could not be read from it.

use super::{
    definitions,
    line::{API_VERSION, GATEWAY_API, Line, READING},
    observed::{Observed, Read, Trouble, Why},
};

/// `x-kubernetes-validations` in definitions (the Rollout's immutable selector) is on by default since 1.25.
const LEAST: (u32, u32) = (1, 25);
/// They cannot be switched off any more since 1.29.
const GOOD: (u32, u32) = (1, 29);
/// Group and version of the one kind of routes.
pub(super) const GATEWAY: &str = "gateway.networking.k8s.io/v1";

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let mut lines = Vec::new();
    lines.push(version(seen));
    lines.extend(gateway(seen));
    lines.extend(reading(seen));
    lines
}

fn version(seen: &Observed) -> Line {
    let found = match &seen.version {
        Ok(version) => version,
        Err(trouble) => {
            return API_VERSION.warn(
                "",
                format!("its version is not told: {}", trouble.message),
                format!("Serin needs Kubernetes {}.{} or newer.", LEAST.0, LEAST.1),
            );
        }
    };
    let number = (found.major, found.minor);
    let text = &found.text;
    if number < LEAST {
        API_VERSION.fail(
            "",
            format!("Kubernetes is {text}; Serin needs {}.{} or newer (validation rules in resource definitions)", LEAST.0, LEAST.1),
            "Update the cluster. Older API servers drop the rules, and a Rollout's selector could be changed under its pods.",
        )
    } else if number < GOOD {
        API_VERSION.warn(
            "",
            format!("Kubernetes is {text}: validation rules in resource definitions are there, but in beta and can be switched off"),
            format!("Update to {}.{} or newer when you can; nobody tests Serin with releases this old.", GOOD.0, GOOD.1),
        )
    } else {
        API_VERSION.pass("", format!("Kubernetes is {text}"))
    }
}

fn gateway(seen: &Observed) -> Option<Line> {
    let routed = seen
        .apps()
        .iter()
        .filter(|app| app.canary().is_some_and(|c| c.traffic_routing.is_some()))
        .count();
    seen.groups.as_ref().ok()?;
    if seen.serves(GATEWAY) {
        return Some(GATEWAY_API.pass("", "Gateway API v1 is served"));
    }
    let what = format!("{GATEWAY} is not served: there can be no HTTPRoute");
    let how = "Install the Gateway API (https://gateway-api.sigs.k8s.io) and a gateway that implements it. Without one, canaries share \
               traffic by the number of pods only.";
    Some(if routed > 0 {
        GATEWAY_API.fail("", format!("{what}, and {routed} Rollouts route by one"), how)
    } else {
        GATEWAY_API.warn("", what, how)
    })
}

/// What could not be read, and what was therefore not checked.
fn reading(seen: &Observed) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut say = |trouble: Option<&Trouble>, lost: &str| {
        // Kinds that are not there are somebody else's finding.
        let Some(trouble) = trouble.filter(|t| t.why != Why::NotServed) else {
            return;
        };
        lines.push(match trouble.why {
            Why::Forbidden => READING.warn(
                "",
                format!("you may not {}; not checked: {lost}", trouble.what),
                "Check as somebody who may: the cluster's role `view` in all namespaces is enough for most of it, a cluster admin sees all.",
            ),
            _ => READING.warn(
                "",
                format!("cannot {}: {}; not checked: {lost}", trouble.what, trouble.message),
                "Try again; if it stays, look at the API server.",
            ),
        });
    };
    fn of<T>(read: &Read<T>) -> Option<&Trouble> {
        read.as_ref().err()
    }
    say(of(&seen.groups), "which groups of kinds are served");
    let unread = definitions::names().find_map(|name| seen.definitions.get(&name).and_then(of));
    say(unread, "whose resource definitions these are");
    say(of(&seen.controllers), "which controllers there are");
    if seen.is_before {
        return lines;
    }
    let objects = &seen.objects;
    say(of(&objects.apps), "everything about Rollouts");
    if seen.apps().is_empty() {
        return lines;
    }
    for (trouble, lost) in [
        (of(&objects.templates), "analysis templates and what they ask"),
        (
            of(&objects.cluster_templates),
            "cluster analysis templates and what they ask",
        ),
        (of(&objects.services), "the Services of Rollouts"),
        (of(&objects.slices), "whether Services have ready pods"),
        (of(&objects.routes), "routes"),
        (of(&objects.deployments), "Deployments that were left behind"),
        (of(&objects.budgets), "disruption budgets"),
        (of(&objects.autoscalers), "autoscalers"),
        (of(&objects.quotas), "quotas"),
        (of(&objects.limits), "limit ranges"),
    ] {
        say(trouble, lost);
    }
    lines
}
