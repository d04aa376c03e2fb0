//! Which controllers are there, who holds the Lease, and does anybody else work on the same Rollouts.

use std::collections::BTreeSet;

use serde_json::Value;
use serin_api::INSTANCE_ID_LABEL;

use super::{
    lease::{self, LOCK, held, span},
    line::{CONTROLLER, CONTROLLER_READY, CONTROLLER_VERSION, LEASE, Line, ROLLOUT_ATTENDED, TWO_CONTROLLERS},
    observed::{App, Observed, Read, Why, find, items, key, list, name, namespace, text},
};

/// Whose controller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    Serin,
    Argo,
}

impl Product {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Serin => "Serin",
            Self::Argo => "Argo Rollouts",
        }
    }
}

/// A Deployment that runs a controller, and what its flags say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) product: Product,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) replicas: i64,
    pub(super) ready: i64,
    pub(super) image: String,
    pub(super) account: String,
    /// `--instance-id`, empty without.
    pub(super) instance: String,
    /// `--namespace`, or its own with `--namespaced`; all without.
    pub(super) watches: Option<String>,
    pub(super) is_namespaced: bool,
    pub(super) elects: bool,
    /// Where Prometheus is for metrics that name none.
    pub(super) prometheus: Option<String>,
}

impl Controller {
    /// What a Deployment runs, if it runs a controller.
    pub(super) fn of(deployment: &Value) -> Option<Self> {
        let labelled = |key: &str| deployment["metadata"]["labels"][key].as_str().unwrap_or_default();
        let label = labelled("app.kubernetes.io/name");
        let component = labelled("app.kubernetes.io/component");
        let containers = list(deployment, "/spec/template/spec/containers");
        let (product, container) = containers.iter().find_map(|container| {
            let product = match repository(text(container, "/image")) {
                "serin" => Product::Serin,
                "argo-rollouts" => Product::Argo,
                _ if label == "serin" && component == "controller" => Product::Serin,
                _ if label == "argo-rollouts" && component == "rollouts-controller" => Product::Argo,
                _ => return None,
            };
            let is_other = product == Product::Serin && !arguments(container).iter().any(|a| a == "controller");
            (!is_other).then_some((product, container))
        })?;
        let arguments = arguments(container);
        let flag = |names: &[&str]| flag(&arguments, names);
        let own = namespace(deployment).to_owned();
        let is_on = |value: Option<String>, default| value.map_or(default, |v| v != "false");
        let is_namespaced = is_on(switch(&arguments, "namespaced"), false);
        let named = flag(&["namespace", "n"]).filter(|n| !n.is_empty());
        let environment = list(container, "/env");
        let variable = environment
            .iter()
            .find(|e| text(e, "/name") == "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS")
            .map(|e| text(e, "/value").to_owned());
        Some(Self {
            product,
            name: name(deployment).to_owned(),
            replicas: deployment
                .pointer("/spec/replicas")
                .and_then(Value::as_i64)
                .unwrap_or(1),
            ready: deployment
                .pointer("/status/readyReplicas")
                .and_then(Value::as_i64)
                .unwrap_or(0),
            image: text(container, "/image").to_owned(),
            account: match text(deployment, "/spec/template/spec/serviceAccountName") {
                "" => "default".to_owned(),
                account => account.to_owned(),
            },
            instance: flag(&["instance-id"]).unwrap_or_default(),
            watches: if is_namespaced {
                named.or_else(|| Some(own.clone()))
            } else {
                named
            },
            is_namespaced,
            elects: is_on(switch(&arguments, "leader-elect"), true),
            prometheus: flag(&["prometheus-address"]).or(variable).filter(|a| !a.is_empty()),
            namespace: own,
        })
    }

    pub(super) fn title(&self) -> String {
        format!("Deployment {}/{}", self.namespace, self.name)
    }

    pub(super) fn lease(&self) -> String {
        match self.instance.as_str() {
            "" => LOCK.to_owned(),
            id => format!("{LOCK}-{id}"),
        }
    }

    /// Whether it works on what has this instance id and is in this namespace.
    fn attends(&self, in_namespace: &str, instance: &str) -> bool {
        self.instance == instance && self.watches.as_deref().is_none_or(|watched| watched == in_namespace)
    }

    fn meets(&self, other: &Self) -> bool {
        let apart = match (&self.watches, &other.watches) {
            (Some(mine), Some(theirs)) => mine != theirs,
            _ => false,
        };
        self.instance == other.instance && !apart
    }
}

/// The last part of an image's name: `ghcr.io/serin-dev/serin:0.1@sha256:…` is `serin`.
fn repository(image: &str) -> &str {
    let last = image.split('@').next().unwrap_or_default();
    let last = last.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

fn tag(image: &str) -> &str {
    let whole = image.split('@').next().unwrap_or_default();
    let last = whole.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map_or("", |(_, tag)| tag)
}

fn arguments(container: &Value) -> Vec<String> {
    ["/command", "/args"]
        .iter()
        .flat_map(|path| list(container, path))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect()
}

/// The value of `--name=value` or `--name value`.
fn flag(arguments: &[String], names: &[&str]) -> Option<String> {
    let is = |word: &str| {
        let bare = word.trim_start_matches('-');
        word.starts_with('-') && names.contains(&bare)
    };
    arguments.iter().enumerate().find_map(|(i, argument)| {
        if let Some((name, value)) = argument.split_once('=') {
            return is(name).then(|| value.to_owned());
        }
        is(argument).then(|| arguments.get(i + 1).cloned().unwrap_or_default())
    })
}

/// The value of `--name` or `--name=value`.
fn switch(arguments: &[String], name: &str) -> Option<String> {
    arguments.iter().find_map(|argument| {
        let bare = argument.strip_prefix("--")?;
        if bare == name {
            return Some("true".to_owned());
        }
        bare.strip_prefix(name)?.strip_prefix('=').map(str::to_owned)
    })
}

// === findings ===

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let Ok(controllers) = &seen.controllers else {
        return lease::alone(seen);
    };
    let mut lines = Vec::new();
    let serins: Vec<&Controller> = controllers.iter().filter(|c| c.product == Product::Serin).collect();
    let playground = lease::playground(seen);
    if serins.is_empty() {
        lines.extend(lease::alone(seen));
    }
    if let Some(playground) = playground.filter(|_| serins.is_empty()) {
        lines.push(playground.controller());
    } else if serins.is_empty() {
        let argo = controllers
            .iter()
            .find(|c| c.product == Product::Argo && c.replicas > 0);
        lines.push(CONTROLLER.fail(
            "",
            match argo {
                Some(argo) => format!("Serin is not installed; Argo Rollouts is ({})", argo.title()),
                None => "Serin is not installed: there is no Deployment of it".to_owned(),
            },
            "Install it with `kubectl apply -k deploy`, or name its namespace with --controller-namespace. `serin check --pre` \
             says whether the cluster is ready for it.",
        ));
    }
    for controller in &serins {
        lines.extend(deployment(controller));
        if controller.replicas > 0 {
            lines.push(lease(seen, controller));
        }
    }
    lines.extend(company(seen, controllers));
    if !serins.is_empty() {
        lines.extend(seen.apps().iter().map(|app| attended(controllers, app)));
    }
    lines
}

fn deployment(controller: &Controller) -> Vec<Line> {
    let about = controller.title();
    let Controller {
        namespace,
        name,
        replicas,
        ready,
        image,
        ..
    } = controller;
    let look = format!("Look at `kubectl -n {namespace} describe deployment {name}` and at the log of its pods.");
    let mut lines = vec![CONTROLLER.pass(&about, format!("runs {image}"))];
    lines.push(if *replicas == 0 {
        CONTROLLER_READY.fail(
            &about,
            "is scaled to 0 replicas: no Rollout moves",
            format!("`kubectl -n {namespace} scale deployment {name} --replicas=2`"),
        )
    } else if *ready == 0 {
        CONTROLLER_READY.fail(
            &about,
            format!("none of {replicas} replicas is ready: no Rollout moves"),
            look,
        )
    } else if ready < replicas {
        CONTROLLER_READY.warn(&about, format!("{ready} of {replicas} replicas are ready"), look)
    } else {
        CONTROLLER_READY.pass(&about, format!("{ready} of {replicas} replicas are ready"))
    });
    let own = env!("CARGO_PKG_VERSION");
    let tag = tag(image).trim_start_matches('v');
    lines.push(if tag.starts_with(|c: char| c.is_ascii_digit()) && tag != own {
        CONTROLLER_VERSION.warn(
            &about,
            format!("is version {tag}, this program is {own}: definitions and rights are compared with those of {own}"),
            format!("Check with the program of version {tag}, or update the controller."),
        )
    } else if tag == own {
        CONTROLLER_VERSION.pass(&about, format!("is version {own}, as this program"))
    } else {
        CONTROLLER_VERSION.pass(
            &about,
            format!("its image does not tell its version; this program is {own}"),
        )
    });
    lines
}

fn lease(seen: &Observed, controller: &Controller) -> Line {
    let (space, named) = (&controller.namespace, controller.lease());
    let about = format!("Lease {space}/{named}");
    if !controller.elects {
        return if controller.replicas > 1 {
            LEASE.fail(
                &about,
                format!(
                    "is not asked for: {} has --leader-elect=false and {} replicas, which all write",
                    controller.title(),
                    controller.replicas
                ),
                "Take --leader-elect=false away.",
            )
        } else {
            LEASE.warn(
                &about,
                format!("is not asked for: {} has --leader-elect=false", controller.title()),
                "Take --leader-elect=false away, or make sure that nothing else works on these Rollouts.",
            )
        };
    }
    let leases = match &seen.leases {
        Ok(leases) => leases,
        Err(trouble) => {
            return LEASE.warn(
                &about,
                format!("could not be read ({trouble}): nobody knows here who leads"),
                "Check as somebody who may read Leases, such as with the cluster's role `admin`.",
            );
        }
    };
    let rights = format!(
        "Look at the log of `kubectl -n {space} logs deployment/{}`; the Role serin-lease (deploy/base/controller/lease.yaml) grants what it \
         needs to take the Lease.",
        controller.name
    );
    let Some(lease) = find(leases, space, &named) else {
        return LEASE.fail(
            &about,
            "does not exist: nobody has ever led, and no Rollout moves",
            rights,
        );
    };
    let held = held(lease);
    if held.holder.is_empty() {
        return LEASE.fail(&about, "is free and nobody takes it: no Rollout moves", rights);
    }
    if !held.is_fresh(seen.now) {
        let since = held.expires.map_or("is held without a time".to_owned(), |at| {
            format!("expired {} ago", span(seen.now - at))
        });
        return LEASE.fail(
            &about,
            format!(
                "{since}; {} held it last and nobody took over: no Rollout moves",
                held.holder
            ),
            rights,
        );
    }
    let pod = (space.clone(), held.pod().to_owned());
    match owner(seen, &pod) {
        Some(Product::Serin) => LEASE.pass(&about, format!("held by {}", held.holder)),
        Some(Product::Argo) => LEASE.fail(
            &about,
            format!("is held by Argo Rollouts ({}): Serin stands by, and Argo Rollouts moves the Rollouts", pod.1),
            "To hand over, scale Argo Rollouts to 0: Serin goes on at the step where it stopped.",
        ),
        None if seen.leaders.as_ref().is_ok_and(|l| l.iter().any(|(ns, _)| ns == space)) => {
            let leaders: Vec<&str> = seen
                .leaders
                .iter()
                .flatten()
                .filter(|(ns, _)| ns == space)
                .map(|(_, pod)| pod.as_str())
                .collect();
            LEASE.pass(&about, format!("held by {}; {} says that it leads", held.holder, leaders.join(", ")))
        }
        None if is_forbidden(&seen.pods) || is_forbidden(&seen.leaders) => LEASE.warn(
            &about,
            format!(
                "is held by {} and renewed; whether that is one of Serin's could not be told, because its pods may not be listed or asked",
                held.holder
            ),
            format!("Compare with `kubectl -n {space} get pods -o wide`: a pod of the host's network bears its node's name."),
        ),
        None => LEASE.fail(
            &about,
            format!(
                "is held by {}, which is no pod of namespace {space}: a controller that runs elsewhere moves the Rollouts, or none does",
                held.holder
            ),
            format!(
                "Find that controller and end it (its host is called {}). If there is none, delete the Lease: `kubectl -n {space} delete lease {named}`.",
                pod.1
            ),
        ),
    }
}

fn is_forbidden<T>(read: &Read<T>) -> bool {
    read.as_ref().is_err_and(|trouble| trouble.why == Why::Forbidden)
}

/// Whose pod it is.
fn owner(seen: &Observed, pod: &(String, String)) -> Option<Product> {
    if seen.leaders.as_ref().is_ok_and(|leaders| leaders.contains(pod)) {
        return Some(Product::Serin);
    }
    let pod = find(items(&seen.pods), &pod.0, &pod.1)?;
    let labels = |key: &str| pod["metadata"]["labels"][key].as_str().unwrap_or_default().to_owned();
    let images: BTreeSet<&str> = list(pod, "/spec/containers")
        .iter()
        .map(|c| repository(text(c, "/image")))
        .collect();
    if images.contains("serin") || labels("app.kubernetes.io/name") == "serin" {
        return Some(Product::Serin);
    }
    (images.contains("argo-rollouts") || labels("app.kubernetes.io/name") == "argo-rollouts").then_some(Product::Argo)
}

/// Do two controllers work on the same Rollouts?
fn company(seen: &Observed, controllers: &[Controller]) -> Vec<Line> {
    let mut lines = Vec::new();
    let active: Vec<&Controller> = controllers.iter().filter(|c| c.replicas > 0).collect();
    for (i, one) in active.iter().enumerate() {
        for other in &active[i + 1..] {
            // Two of Argo's are not for us to judge.
            if (one.product, other.product) == (Product::Argo, Product::Argo) || !one.meets(other) {
                continue;
            }
            let takes_turns = one.namespace == other.namespace && one.elects && other.elects;
            let (serin, second) = if one.product == Product::Serin {
                (one, other)
            } else {
                (other, one)
            };
            let names = format!(
                "{} ({}) and {} ({})",
                serin.title(),
                serin.product.name(),
                second.title(),
                second.product.name()
            );
            lines.push(if takes_turns {
                TWO_CONTROLLERS.warn(
                    second.title(),
                    format!("{names} share the Lease {}: one of them works, the other stands by", serin.lease()),
                    format!(
                        "When the change to Serin is done: `kubectl -n {} scale deployment {} --replicas=0`.",
                        second.namespace, second.name
                    ),
                )
            } else {
                TWO_CONTROLLERS.fail(
                    second.title(),
                    format!("{names} work on the same Rollouts at the same time: each takes back what the other writes"),
                    format!(
                        "End one of them (`kubectl -n {} scale deployment {} --replicas=0`), or tell them apart with --instance-id or --namespace.",
                        second.namespace, second.name
                    ),
                )
            });
        }
    }
    // Somebody who leads and whose Deployment is not there: run by hand, or where we may not look.
    for lease in items(&seen.leases) {
        let held = held(lease);
        let is_known = active
            .iter()
            .any(|c| c.namespace == namespace(lease) && c.lease() == name(lease));
        let is_alone = name(lease) != LOCK || !active.iter().any(|c| c.instance.is_empty());
        if is_known || is_alone || !held.is_fresh(seen.now) {
            continue;
        }
        let about = format!("Lease {}", key(lease));
        lines.push(if seen.has_all_controllers {
            TWO_CONTROLLERS.fail(
                about,
                format!(
                    "is held and renewed by {}, and no Deployment there runs a controller: somebody runs one beside this one, where the \
                     Lease does not keep them apart",
                    held.holder
                ),
                "End one of the two, or tell them apart with --instance-id or --namespace.",
            )
        } else {
            TWO_CONTROLLERS.warn(
                about,
                format!("is held and renewed by {}: a controller in another namespace, which may work on the same Rollouts", held.holder),
                "Check as somebody who may list Deployments everywhere, and without --controller-namespace.",
            )
        });
    }
    if lines.is_empty() && !active.is_empty() {
        lines.push(TWO_CONTROLLERS.pass("", "no other controller works on the same Rollouts"));
    }
    lines
}

fn attended(controllers: &[Controller], app: &App) -> Line {
    let instance = app.object["metadata"]["labels"][INSTANCE_ID_LABEL]
        .as_str()
        .unwrap_or_default();
    let mut attending = controllers.iter().filter(|c| c.attends(&app.namespace, instance));
    let about = app.title();
    match attending.find(|c| c.product == Product::Serin) {
        Some(controller) => ROLLOUT_ATTENDED.pass(about, format!("{} looks after it", controller.title())),
        None => {
            let why = match instance {
                "" => format!("no controller of Serin watches namespace {}", app.namespace),
                id => format!(
                    "no controller of Serin in charge of namespace {} has --instance-id {id}",
                    app.namespace
                ),
            };
            let argo = controllers
                .iter()
                .find(|c| c.product == Product::Argo && c.replicas > 0 && c.attends(&app.namespace, instance));
            match argo {
                Some(argo) => ROLLOUT_ATTENDED.warn(about, format!("is left to Argo Rollouts ({}): {why}", argo.title()), "Nothing, if that is meant."),
                None => ROLLOUT_ATTENDED.fail(
                    about,
                    format!("nobody looks after it: {why}"),
                    format!("Change the controller's --namespace or --instance-id, or the Rollout's label {INSTANCE_ID_LABEL}."),
                ),
            }
        }
    }
}
