//! Does Prometheus answer, and does the hash label reach the series that analyses ask for?

use std::collections::{BTreeMap, BTreeSet};

use super::{
    lease,
    line::{HASH_LABEL, Line, PROMETHEUS, PROMETHEUS_ADDRESS, PROMETHEUS_SECRETS, QUERY, Status},
    metrics::{self, Hashed, Role, Use},
    observed::Observed,
    prometheus::{Counts, Failure, Proxied, Reached, Target, Way},
    quoted::Secrets,
};

const PORT_AND_PATH: &str = "Is it the right port and path? Thanos, Mimir and VictoriaMetrics have theirs below a path of their own, such as /prometheus.";

pub(super) fn findings(seen: &Observed) -> Vec<Line> {
    let uses = metrics::uses(seen);
    let secrets = seen.secret_values();
    let mut lines = Vec::new();
    for (target, reached) in &seen.reached {
        lines.push(reach(&uses, target, reached, &secrets));
    }
    for ((space, name, key), read) in &seen.secrets {
        let about = format!("Secret {space}/{name}");
        lines.push(match read {
            Ok(_) => PROMETHEUS_SECRETS.pass(about, format!("key {key} could be read")),
            Err(why) => PROMETHEUS_SECRETS.warn(
                about,
                format!("key {key} could not be read here ({why}): what needs it was not asked"),
                "If the Secret or its key is missing, create it; otherwise check as somebody who may read it.",
            ),
        });
    }
    let mut by_rollout: BTreeMap<&str, Vec<&Use>> = BTreeMap::new();
    for one in &uses {
        by_rollout.entry(&one.about).or_default().push(one);
    }
    for (about, uses) in by_rollout {
        lines.extend(rollout(seen, about, &uses, &secrets));
    }
    lines
}

fn reach(uses: &[Use], target: &Target, reached: &Reached, secrets: &Secrets<'_>) -> Line {
    let about = format!("Prometheus {}", target.shown());
    let users: BTreeSet<&str> = uses
        .iter()
        .filter(|u| u.target.as_ref() == Some(target))
        .map(|u| u.about.as_str())
        .collect();
    let users = match users.len() {
        0 => "the controller".to_owned(),
        1 => users.into_iter().collect(),
        n => format!("{n} Rollouts"),
    };
    let version = if reached.version.is_empty() {
        String::new()
    } else {
        format!(" (version {})", secrets.hide(&reached.version))
    };
    match &reached.way {
        Ok(Way::Direct) => PROMETHEUS.pass(about, format!("answers{version}; asked from here")),
        Ok(Way::Proxied(service)) => PROMETHEUS.pass(
            about,
            format!(
                "answers{version}; asked through the API server (Service {}/{}), because it does not answer from here by its name",
                service.namespace, service.name
            ),
        ),
        Err(Failure::Refused(code)) => PROMETHEUS.fail(
            about,
            format!("answers {code}: it wants other credentials than {users} has"),
            "Give the metric provider.prometheus.authentication.basicAuth or headers, from a Secret by valueFrom.secretKeyRef.",
        ),
        Err(Failure::Said(code, what)) => PROMETHEUS.fail(
            about,
            format!("answers {code}: {}; asked for {users}", secrets.hide(what)),
            PORT_AND_PATH,
        ),
        Err(Failure::Strange(code)) => PROMETHEUS.fail(
            about,
            format!("answers {code}, and not as Prometheus' HTTP API does (/api/v1/query); asked for {users}"),
            PORT_AND_PATH,
        ),
        Err(Failure::Silent { direct, proxied }) => {
            silent(about, &users, &secrets.hide(direct), proxied.as_ref(), secrets)
        }
    }
}

fn silent(about: String, users: &str, direct: &str, proxied: Option<&Proxied>, secrets: &Secrets<'_>) -> Line {
    match proxied {
        None => PROMETHEUS.fail(
            about,
            format!("cannot be reached from here ({direct}); asked for {users}. From the cluster it may be another matter"),
            "If it is reached by another way from here, say so: --prometheus URL. Otherwise correct ARGO_ROLLOUTS_PROMETHEUS_ADDRESS \
             of the controller, or provider.prometheus.address of the template.",
        ),
        Some(Proxied::NoService(service)) => PROMETHEUS.fail(
            about,
            format!("cannot be reached ({direct}), and there is no Service {service}; asked for {users}"),
            "Correct ARGO_ROLLOUTS_PROMETHEUS_ADDRESS of the controller (deploy/base/controller/deployment.yaml), or \
             provider.prometheus.address of the template. `kubectl get services -A | grep -i prometheus` may help.",
        ),
        Some(Proxied::Closed(why)) => PROMETHEUS.warn(
            about,
            format!("does not answer from here ({direct}), and cannot be asked through the API server: {}", secrets.hide(why)),
            "Forward it (`kubectl port-forward`) and check with --prometheus http://127.0.0.1:PORT.",
        ),
        Some(Proxied::Silent(why)) => PROMETHEUS.fail(
            about,
            format!("answers neither from here ({direct}) nor through the API server ({}); asked for {users}", secrets.hide(why)),
            "Does the Service have ready pods, and is it the right port? `kubectl get endpointslices` in its namespace tells.",
        ),
    }
}

/// What is said of one Rollout: one line if all is well, else one for each thing that is not.
fn rollout(seen: &Observed, about: &str, uses: &[&Use], secrets: &Secrets<'_>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut reached = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for one in uses {
        let hashed = match &one.hashed {
            Ok(hashed) => hashed,
            Err(_) if one.is_blind => continue,
            Err(error) => {
                lines.push(QUERY.warn(
                    about,
                    format!(
                        "metric {}: the query cannot be read as PromQL ({}), so its labels were not looked for",
                        one.metric,
                        secrets.hide(error)
                    ),
                    "Try it: `serin analysis run TEMPLATE --arg …` asks it once.",
                ));
                continue;
            }
        };
        let Some(target) = &one.target else {
            lines.push(if let Some(playground) = lease::playground(seen) {
                PROMETHEUS_ADDRESS.warn(
                    about,
                    format!("metric {} names no Prometheus: the playground's controller asks the playground's own", one.metric),
                    playground.prometheus(),
                )
            } else if seen.controllers.is_ok() {
                PROMETHEUS_ADDRESS.fail(
                    about,
                    format!("metric {} names no Prometheus, and no controller has an address", one.metric),
                    "Set ARGO_ROLLOUTS_PROMETHEUS_ADDRESS in the controller's Deployment, or provider.prometheus.address in the template.",
                )
            } else {
                PROMETHEUS_ADDRESS.warn(
                    about,
                    format!("metric {} names no Prometheus, and the controller's flags cannot be read", one.metric),
                    "Say where it is: --prometheus URL.",
                )
            });
            continue;
        };
        if one.is_blind {
            continue;
        }
        for hashed in hashed {
            let key = (target.clone(), hashed.selected.to_string());
            match seen.counts.get(&key) {
                // A Prometheus that does not answer is one finding, not one for each query.
                None => {}
                Some(Err(error)) => lines.push(QUERY.fail(
                    about,
                    format!(
                        "metric {}: Prometheus does not answer {}: {}",
                        one.metric,
                        secrets.hide_in(&hashed.selected),
                        secrets.hide(error)
                    ),
                    "Correct the template's query.",
                )),
                Some(Ok(counts)) if counts.exact > 0 => {
                    reached.insert(hashed.selected.to_string());
                    labels.insert(hashed.label.as_str());
                }
                Some(Ok(_)) if one.is_idle => {}
                Some(Ok(counts)) => lines.push(missing(about, hashed, counts, secrets)),
            }
        }
    }
    // The worst of each kind first; the same words once.
    let mut said = BTreeSet::new();
    lines.retain(|line| said.insert((line.check.id, line.seen.clone())));
    lines = together(lines);
    lines.sort_by_key(|line| std::cmp::Reverse(line.status));
    let is_fine = lines
        .iter()
        .all(|line| line.check.id != HASH_LABEL.id || line.status == Status::Pass);
    if is_fine && !reached.is_empty() {
        let labels: Vec<&str> = labels.into_iter().collect();
        lines.push(HASH_LABEL.pass(
            about,
            format!(
                "{} tells its revisions apart in {} of its queries' selectors",
                labels.join(", "),
                reached.len()
            ),
        ));
    }
    lines
}

/// Where the way out is the same, the first is said and the others are counted.
fn together(lines: Vec<Line>) -> Vec<Line> {
    let mut kept: Vec<(Line, usize)> = Vec::new();
    for line in lines {
        let same =
            |k: &&mut (Line, usize)| (k.0.check, k.0.status, &k.0.advice) == (line.check, line.status, &line.advice);
        match kept.iter_mut().find(same) {
            Some((_, more)) => *more += 1,
            None => kept.push((line, 0)),
        }
    }
    kept.into_iter()
        .map(|(mut line, more)| {
            if more > 0 {
                line.seen
                    .push_str(&format!(" (and {more} more of its queries' selectors alike)"));
            }
            line
        })
        .collect()
}

fn missing(about: &str, hashed: &Hashed, counts: &Counts, secrets: &Secrets<'_>) -> Line {
    let Hashed { label, hash, .. } = hashed;
    let any = secrets.hide_in(&hashed.of_any_revision());
    let whose = match hashed.role {
        Role::Latest => "the newest revision",
        Role::Stable => "the stable revision",
    };
    let relabel = format!(
        "In the scrape job of the pods:\n  relabel_configs:\n  - source_labels: [__meta_kubernetes_pod_label_rollouts_pod_template_hash]\n    \
         target_label: {label}\nWith the Prometheus Operator, in the PodMonitor or ServiceMonitor:\n  podTargetLabels: \
         [rollouts-pod-template-hash]"
    );
    let metric = any.metric.clone().unwrap_or_else(|| any.to_string());
    if !counts.others.is_empty() {
        let others: Vec<String> = counts
            .others
            .iter()
            .map(|(value, n)| format!("{} ({n})", secrets.hide(value)))
            .collect();
        return HASH_LABEL.warn(
            about,
            format!(
                "{any} has series with {label}, but none of {whose} ({hash}); it has {}",
                others.join(", ")
            ),
            "Are its pods scraped, and have they had a request? New pods need a scrape or two.",
        );
    }
    if counts.without > 0 {
        return HASH_LABEL.fail(
            about,
            format!(
                "{any} has {} series, and none has the label {label}: Prometheus does not take it over from the pods, and the analysis \
                 finds nothing",
                counts.without
            ),
            relabel,
        );
    }
    match counts.rule {
        Some(false) if counts.by_name == 0 => {
            return HASH_LABEL.fail(
                about,
                format!("there is no series {metric}, and no rule records it"),
                "Put analysis-templates/recording-rules.yaml among Prometheus' rule_files; the argument `window` must be one that it has.",
            );
        }
        _ if !counts.is_label_known => {
            let there = match counts.by_name {
                0 => format!("there is no series {metric}"),
                n => format!("there are {n} series {metric}, none with the conditions of {any}"),
            };
            return HASH_LABEL.fail(
                about,
                format!("{there}, and no series of this Prometheus has the label {label}: it is not taken over from the pods"),
                relabel,
            );
        }
        Some(true) if counts.by_name == 0 => {
            return HASH_LABEL.warn(
                about,
                format!(
                    "{metric} is recorded, and without any result: the series that the rule reads are not there yet"
                ),
                "Are the pods scraped, and have they had requests? Look at the rule's expression in Prometheus.",
            );
        }
        _ => {}
    }
    if counts.by_name == 0 {
        return HASH_LABEL.fail(
            about,
            format!("there is no series {metric} at all"),
            "Is this the right Prometheus, are the pods scraped, and is that how their metric is called?",
        );
    }
    HASH_LABEL.warn(
        about,
        format!(
            "there are {} series {metric}, but none with the conditions of {any}",
            counts.by_name
        ),
        "Compare its labels with those of the series; an application without requests may have none yet.",
    )
}
