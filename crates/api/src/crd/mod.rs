//! The CustomResourceDefinitions (compat 1), made from the types of this crate, the API server's own schema of a pod
//! template, and a short list of what the types leave raw. They carry no descriptions: plain `kubectl apply` stores the
//! whole object in an annotation of at most 256 KiB.

mod pod_template;
mod shorthand;
mod structural;
mod yaml;

use serde_json::{Map, Value, json};

use crate::{
    GROUP, VERSION,
    analysis::{AnalysisRunSpec, AnalysisRunStatus, AnalysisTemplateSpec},
    experiment::{ExperimentSpec, ExperimentStatus},
    rollout::RolloutSpec,
    status::RolloutStatus,
};

pub use pod_template::distil;

/// One definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Plural name of the kind.
    pub plural: &'static str,
    /// The whole object.
    pub object: Value,
}

impl Definition {
    /// `rollouts-crd.yaml`.
    pub fn file_name(&self) -> String {
        format!("{}-crd.yaml", self.plural)
    }

    /// The object as YAML, short values in one line.
    pub fn yaml(&self) -> String {
        format!(
            "# Made by `make crds` from crates/api. Do not edit.\n{}",
            yaml::write(&self.object)
        )
    }
}

/// The five definitions.
pub fn all() -> Vec<Definition> {
    vec![
        rollout(),
        analysis_template(),
        cluster_analysis_template(),
        analysis_run(),
        experiment(),
    ]
}

/// `kustomization.yaml` of the folder with the definitions.
pub fn kustomization() -> String {
    let files: String = all().iter().map(|d| format!("- {}\n", d.file_name())).collect();
    format!(
        "# Made by `make crds` from crates/api. Do not edit.\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{files}"
    )
}

struct Kind {
    name: &'static str,
    plural: &'static str,
    short: &'static str,
    namespaced: bool,
    /// Name, type, path.
    columns: &'static [(&'static str, &'static str, &'static str)],
    subresources: Option<Value>,
}

fn define(kind: &Kind, spec: Value, status: Option<Value>) -> Definition {
    let mut properties = Map::new();
    properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
    properties.insert("kind".to_owned(), json!({"type": "string"}));
    properties.insert("metadata".to_owned(), json!({"type": "object"}));
    properties.insert("spec".to_owned(), spec);
    if let Some(status) = status {
        properties.insert("status".to_owned(), status);
    }
    let columns: Vec<Value> = kind
        .columns
        .iter()
        .chain(&[("Age", "date", ".metadata.creationTimestamp")])
        .map(|(name, kind, path)| json!({"name": name, "type": kind, "jsonPath": path}))
        .collect();
    let mut version = json!({
        "name": VERSION,
        "served": true,
        "storage": true,
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": properties}},
    });
    if let Some(subresources) = &kind.subresources {
        version["subresources"] = subresources.clone();
    }
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{GROUP}", kind.plural),
            "labels": {"app.kubernetes.io/name": "serin", "app.kubernetes.io/part-of": "serin"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": format!("{}List", kind.name),
                "plural": kind.plural,
                "singular": kind.name.to_lowercase(),
                "shortNames": [kind.short],
            },
            "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
            "versions": [version],
        },
    });
    Definition {
        plural: kind.plural,
        object,
    }
}

fn rollout() -> Definition {
    let mut spec = structural::schema_of::<RolloutSpec>();
    let routers = shorthand::named("trafficRouting");
    spec.replace("template", pod_template::schema());
    let mut selector = pod_template::label_selector();
    selector["x-kubernetes-validations"] =
        json!([{"rule": "self == oldSelf", "message": ".spec.selector is immutable"}]);
    spec.replace("selector", selector);
    for (router, schema) in &routers {
        spec.replace(&format!("strategy.canary.trafficRouting.{router}"), schema.clone());
    }
    let step = "strategy.canary.steps[]";
    spec.replace(&format!("{step}.plugin.config"), shorthand::any());
    spec.replace(
        &format!("{step}.experiment.templates[].selector"),
        pod_template::label_selector(),
    );
    spec.require(
        &format!("{step}.setHeaderRoute.match[]"),
        &["headerName", "headerValue"],
    );
    let mut status = structural::schema_of::<RolloutStatus>();
    for (field, schema) in shorthand::named("status") {
        status.replace(&field, schema);
    }
    define(
        &Kind {
            name: "Rollout",
            plural: "rollouts",
            short: "ro",
            namespaced: true,
            columns: &[
                ("Desired", "integer", ".spec.replicas"),
                ("Current", "integer", ".status.replicas"),
                ("Up-to-date", "integer", ".status.updatedReplicas"),
                ("Available", "integer", ".status.availableReplicas"),
            ],
            subresources: Some(json!({
                "status": {},
                "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.HPAReplicas",
                    "labelSelectorPath": ".status.selector",
                },
            })),
        },
        spec.into_value(),
        Some(status.into_value()),
    )
}

/// What the types leave raw inside `metrics[]`.
fn complete_metrics(spec: &mut structural::Schema) {
    let provider = "metrics[].provider";
    for (field, schema) in shorthand::named("provider") {
        spec.replace(&format!("{provider}.{field}"), schema);
    }
    for (field, schema) in shorthand::named("authentication") {
        if field != "basicAuth" {
            spec.replace(&format!("{provider}.prometheus.authentication.{field}"), schema);
        }
    }
}

fn analysis_template() -> Definition {
    template_of(&Kind {
        name: "AnalysisTemplate",
        plural: "analysistemplates",
        short: "at",
        namespaced: true,
        columns: &[],
        subresources: None,
    })
}

fn cluster_analysis_template() -> Definition {
    template_of(&Kind {
        name: "ClusterAnalysisTemplate",
        plural: "clusteranalysistemplates",
        short: "cat",
        namespaced: false,
        columns: &[],
        subresources: None,
    })
}

fn template_of(kind: &Kind) -> Definition {
    let mut spec = structural::schema_of::<AnalysisTemplateSpec>();
    complete_metrics(&mut spec);
    define(kind, spec.into_value(), None)
}

const PHASE: (&str, &str, &str) = ("Status", "string", ".status.phase");

fn analysis_run() -> Definition {
    let mut spec = structural::schema_of::<AnalysisRunSpec>();
    complete_metrics(&mut spec);
    spec.require("", &["metrics"]);
    let mut status = structural::schema_of::<AnalysisRunStatus>();
    status.require("", &["phase"]);
    define(
        &Kind {
            name: "AnalysisRun",
            plural: "analysisruns",
            short: "ar",
            namespaced: true,
            columns: &[PHASE],
            // The status is an ordinary field: clients and upstream patch it on the object itself (compat H6).
            subresources: None,
        },
        spec.into_value(),
        Some(status.into_value()),
    )
}

fn experiment() -> Definition {
    let mut spec = structural::schema_of::<ExperimentSpec>();
    spec.replace("templates[].template", pod_template::schema());
    spec.replace("templates[].selector", pod_template::label_selector());
    let status = structural::schema_of::<ExperimentStatus>();
    define(
        &Kind {
            name: "Experiment",
            plural: "experiments",
            short: "exp",
            namespaced: true,
            columns: &[PHASE],
            subresources: None,
        },
        spec.into_value(),
        Some(status.into_value()),
    )
}

#[cfg(test)]
mod tests;
