//! Before the installation: may this person install, and is anything in the way.

use super::{
    controllers::Product,
    lease,
    line::{CONTROLLER, INSTALL_ESCALATION, INSTALL_NAMESPACE, INSTALL_RIGHTS, Line},
    observed::Observed,
    rights::{self, Right},
};

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let mut lines = Vec::new();
    let home = &seen.home;
    lines.push(match &seen.home_exists {
        Ok(true) => INSTALL_NAMESPACE.pass("", format!("namespace {home} is there")),
        Ok(false) => INSTALL_NAMESPACE.pass("", format!("namespace {home} is free to be created")),
        Err(trouble) => INSTALL_NAMESPACE.warn(
            "",
            format!(
                "whether there is a namespace {home} could not be read: {}",
                trouble.message
            ),
            "Ask somebody who may read namespaces.",
        ),
    });
    lines.extend(may(seen));
    for controller in seen.controllers() {
        let about = controller.title();
        lines.push(match controller.product {
            Product::Serin => CONTROLLER.warn(
                &about,
                format!("Serin is installed already ({})", controller.image),
                "`serin check` without --pre looks at it; applying again updates it.",
            ),
            Product::Argo if controller.replicas == 0 => CONTROLLER.pass(&about, "is Argo Rollouts, scaled to 0"),
            Product::Argo if controller.namespace == *home => CONTROLLER.warn(
                &about,
                "is Argo Rollouts, in the same namespace: both take the same Lease, so Serin stands by until Argo Rollouts is scaled to 0",
                format!(
                    "To hand over: `kubectl -n {} scale deployment {} --replicas=0`. To go back: the other way round.",
                    controller.namespace, controller.name
                ),
            ),
            Product::Argo => CONTROLLER.fail(
                &about,
                format!("is Argo Rollouts, in another namespace than {home}: nothing would keep the two apart"),
                format!(
                    "Install Serin into {} (the `namespace:` of your kustomization, and the subjects of the bindings), or scale Argo Rollouts to 0 first.",
                    controller.namespace
                ),
            ),
        });
    }
    let holders = lease::alone(seen);
    let is_free = holders.is_empty();
    lines.extend(holders);
    if let Some(playground) = lease::playground(seen) {
        lines.push(playground.controller());
    } else if is_free && seen.controllers.is_ok() && seen.controllers().is_empty() {
        lines.push(CONTROLLER.pass("", "no other controller is in the way"));
    }
    lines
}

fn may(seen: &Observed) -> Vec<Line> {
    let rights = match seen.rights.first() {
        Some(Ok(rights)) => rights,
        Some(Err(trouble)) => {
            return vec![INSTALL_RIGHTS.warn(
                "",
                format!("what you may do is not known: cannot {trouble}"),
                "Try again.",
            )];
        }
        None => return Vec::new(),
    };
    let denied = |right: &Right| rights.answers.get(right) == Some(&false);
    let mut lines = Vec::new();
    let all = rights::to_install(&seen.home);
    let missing: Vec<&Right> = all.iter().filter(|right| denied(right)).collect();
    lines.push(if missing.is_empty() {
        INSTALL_RIGHTS.pass("", format!("you may create all that `kubectl apply -k deploy` brings ({} rights)", all.len()))
    } else {
        INSTALL_RIGHTS.fail(
            "",
            format!("you may not: {}", listed(&missing)),
            "Install as a cluster admin. Without rights beyond one namespace: somebody applies deploy/crds for you, then \
             `kubectl apply -k deploy/overlays/namespaced`.",
        )
    });
    let beyond: Vec<&Right> = rights::granted().iter().filter(|right| denied(right)).collect();
    lines.push(if beyond.is_empty() || !denied(&rights::escalate()) {
        INSTALL_ESCALATION.pass("", "you may grant the controller its rights")
    } else {
        INSTALL_ESCALATION.fail(
            "",
            format!(
                "the API server lets nobody grant more than they have, and you may not: {}",
                listed(&beyond)
            ),
            "Install as a cluster admin.",
        )
    });
    lines
}

/// `create, patch namespaces; create, patch roles in namespace n; …`, the first few.
fn listed(rights: &[&Right]) -> String {
    const SHOWN: usize = 4;
    let mut targets: Vec<(String, Vec<&str>)> = Vec::new();
    for right in rights {
        let target = match &right.namespace {
            Some(namespace) => format!("{} in namespace {namespace}", right.target()),
            None => right.target(),
        };
        match targets.iter_mut().find(|(known, _)| *known == target) {
            Some((_, verbs)) => verbs.push(&right.verb),
            None => targets.push((target, vec![&right.verb])),
        }
    }
    let more = targets.len().saturating_sub(SHOWN);
    let mut parts: Vec<String> = targets
        .iter()
        .take(SHOWN)
        .map(|(target, verbs)| format!("{} {target}", verbs.join(", ")))
        .collect();
    if more > 0 {
        parts.push(format!("and {more} more kinds"));
    }
    parts.join("; ")
}
