//! Serin's resource definitions on a real API server: they are accepted, store what upstream's store, refuse what upstream's
//! refuse, and know every field of our examples. No controller may run: it would write to the objects.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    discovery::{self, Scope},
};
use serde_json::{Map, Value, json};
use serin_api::{
    crd,
    hash::{pod_template_hash, steps_hash},
    rollout::CanaryStep,
    template::PodTemplate,
};

/// How long the API server may take to serve a new kind.
const ESTABLISHED: Duration = Duration::from_secs(30);
const VECTORS: &str = include_str!("../../../recordings/hash-vectors.jsonl");
const INVALID: &str = include_str!("../../../recordings/invalid.jsonl");

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

fn rollouts() -> ApiResource {
    resource(serin_api::GROUP, serin_api::VERSION, "Rollout", "rollouts")
}

/// The definitions are created (or brought up to date) and served; the API server has nothing to say against their schemas.
///
/// # Errors
/// One is refused, is not structural, or is not served in time.
pub(super) async fn definitions_are_served(client: &Client) -> Result<usize> {
    let crds = Api::<DynamicObject>::all_with(
        client.clone(),
        &resource(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
        ),
    );
    let all = crd::all();
    for definition in &all {
        let name = format!("{}.{}", definition.plural, serin_api::GROUP);
        let params = PatchParams::apply("serin-e2e").force();
        crds.patch(&name, &params, &Patch::Apply(&definition.object))
            .await
            .with_context(|| format!("{name} is refused"))?;
        let wait = async {
            loop {
                let state = crds.get(&name).await?;
                let condition = |kind: &str| {
                    let list = state.data.pointer("/status/conditions").and_then(Value::as_array);
                    list.into_iter().flatten().find(|c| c["type"] == kind).cloned()
                };
                if let Some(problem) = condition("NonStructuralSchema") {
                    bail!("{name} is not structural: {}", problem["message"]);
                }
                if condition("Established").is_some_and(|c| c["status"] == "True") {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(ESTABLISHED, wait)
            .await
            .map_err(|_| anyhow!("{name} is not served after {ESTABLISHED:?}"))??;
    }
    Ok(all.len())
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn text<'a>(line: &'a Value, field: &str) -> Result<&'a str> {
    line[field]
        .as_str()
        .with_context(|| format!("{field} is missing in a recorded line"))
}

fn rollout(name: &str, spec: &Value) -> Result<DynamicObject> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": spec,
    }))?)
}

/// Every submitted template and every list of steps comes back as what the recorded hash was taken over (compat 2.1): the
/// hash of what our API server returns is the recorded one. Returns how many were compared.
///
/// The recorded `stored` is what upstream's controller wrote back (quantities respelled, `resources: {}` added), so objects
/// are not compared literally; templates that went through a Deployment, which nobody rewrote, are.
///
/// # Errors
/// All lines that differ.
pub(super) async fn stored_objects_hash_as_recorded(client: &Client, namespace: &str) -> Result<usize> {
    let plain =
        json!({"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "app", "image": "demo:v1"}]}});
    let rollouts = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &rollouts());
    let deployments = Api::<DynamicObject>::namespaced_with(
        client.clone(),
        namespace,
        &resource("apps", "v1", "Deployment", "deployments"),
    );
    let vectors = lines(VECTORS)?;
    let mut wrong = Vec::new();
    for (i, vector) in vectors.iter().enumerate() {
        let name = format!("vector-{i}");
        let kind = text(vector, "kind")?;
        let template = if kind == "steps" { &plain } else { &vector["submitted"] };
        let mut spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "demo"}}, "template": template});
        let stored = if kind == "workloadRef" {
            let object =
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec});
            let stored = deployments
                .create(&PostParams::default(), &serde_json::from_value(object)?)
                .await;
            deployments.delete(&name, &DeleteParams::background()).await.ok();
            stored
        } else {
            spec["strategy"] = match vector["strategy"].as_str() {
                Some("blueGreen") => json!({"blueGreen": {"activeService": "active"}}),
                _ => {
                    json!({"canary": {"steps": if kind == "steps" { vector["submitted"].clone() } else { Value::Null }}})
                }
            };
            let stored = rollouts.create(&PostParams::default(), &rollout(&name, &spec)?).await;
            rollouts.delete(&name, &DeleteParams::default()).await.ok();
            stored
        };
        let stored = match stored {
            Ok(stored) => stored.data,
            Err(error) => {
                wrong.push(format!("{kind} {}: refused: {error}", vector["name"]));
                continue;
            }
        };
        if kind == "workloadRef" && stored["spec"]["template"] != vector["stored"] {
            wrong.push(format!(
                "{kind} {}: stored {}",
                vector["name"], stored["spec"]["template"]
            ));
        }
        let template = pod_template_hash(&PodTemplate(stored["spec"]["template"].clone()), None);
        let mut hashes = vec![(template, text(vector, "podTemplateHash")?)];
        if let Some(canary) = stored["spec"]["strategy"].get("canary").filter(|_| kind == "steps") {
            let steps: Option<Vec<CanaryStep>> = serde_json::from_value(canary["steps"].clone())?;
            hashes.push((steps_hash(steps.as_deref()), text(vector, "stepHash")?));
        }
        for (ours, recorded) in hashes {
            if ours != recorded {
                wrong.push(format!("{kind} {}: {ours}, recorded {recorded}", vector["name"]));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        vectors.len(),
        wrong.join("\n")
    );
    Ok(vectors.len())
}

/// The API server refuses exactly the recorded doubtful specs that upstream's definitions made it refuse, with the same
/// code and words. Returns how many it refused and how many it was asked.
///
/// # Errors
/// All lines that differ.
pub(super) async fn recorded_refusals_are_refused(client: &Client, namespace: &str) -> Result<(usize, usize)> {
    let rollouts = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &rollouts());
    let usual = json!({
        "replicas": 0,
        "selector": {"matchLabels": {"app": "demo"}},
        "template": {"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "app", "image": "demo:v1"}]}},
    });
    let lines = lines(INVALID)?;
    let (mut refused, mut wrong) = (0, Vec::new());
    for line in &lines {
        let name = text(line, "name")?;
        let mut spec: Map<String, Value> = usual.as_object().cloned().unwrap_or_default();
        spec.extend(line["spec"].as_object().cloned().unwrap_or_default());
        // Our label and service names do not matter here: nothing looks at them.
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let answer = rollouts.create(&params, &rollout(name, &Value::Object(spec))?).await;
        let ours = match answer {
            Ok(_) => None,
            Err(kube::Error::Api(status)) => Some((u64::from(status.code), status.message.clone())),
            Err(other) => return Err(other.into()),
        };
        refused += usize::from(ours.is_some());
        let recorded = line
            .get("refused")
            .map(|r| (r["code"].as_u64().unwrap_or(0), r["message"].as_str().unwrap_or("")));
        let equal = match (&ours, recorded) {
            (None, None) => true,
            (Some((code, message)), Some(recorded)) => (*code, message.as_str()) == recorded,
            _ => false,
        };
        if !equal {
            wrong.push(format!("{name}: {ours:?}, recorded {recorded:?}"));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        lines.len(),
        wrong.join("\n")
    );
    Ok((refused, lines.len()))
}

/// `spec.selector` cannot be changed, a status is written through its subresource alone, and the scale subresource works.
///
/// # Errors
/// What is not so.
pub(super) async fn rollouts_have_their_subresources(client: &Client, namespace: &str) -> Result<()> {
    let rollouts = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &rollouts());
    let spec = json!({
        "replicas": 1,
        "selector": {"matchLabels": {"app": "demo"}},
        "template": {"metadata": {"labels": {"app": "demo"}}, "spec": {"containers": [{"name": "app", "image": "demo:v1"}]}},
        "strategy": {"canary": {}},
    });
    let name = "subresources";
    rollouts.create(&PostParams::default(), &rollout(name, &spec)?).await?;
    let merge = |patch: Value| Patch::Merge(patch);
    let params = PatchParams::default();
    let other = merge(json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}}));
    let refused = rollouts
        .patch(name, &params, &other)
        .await
        .err()
        .context("the selector could be changed")?;
    ensure!(refused.to_string().contains(".spec.selector is immutable"), "{refused}");

    let status = merge(json!({"status": {"HPAReplicas": 3, "selector": "app=demo", "phase": "Healthy"}}));
    let ignored = rollouts.patch(name, &params, &status).await?;
    ensure!(
        ignored.data.get("status").is_none(),
        "the status was written with the object"
    );
    rollouts.patch_status(name, &params, &status).await?;
    let scale = rollouts.get_scale(name).await?;
    let seen = (
        scale.spec.as_ref().and_then(|s| s.replicas),
        scale.status.as_ref().map(|s| s.replicas),
        scale.status.as_ref().and_then(|s| s.selector.as_deref()),
    );
    ensure!(seen == (Some(1), Some(3), Some("app=demo")), "scale says {seen:?}");
    rollouts
        .patch_scale(name, &params, &merge(json!({"spec": {"replicas": 4}})))
        .await?;
    ensure!(
        rollouts.get(name).await?.data["spec"]["replicas"] == 4,
        "scaling did not reach spec.replicas"
    );
    rollouts.delete(name, &DeleteParams::default()).await?;
    ensure!(
        rollouts.list(&ListParams::default()).await?.items.is_empty(),
        "Rollouts of another test are left"
    );
    Ok(())
}

/// Every object in the YAML files below a folder is accepted as it is, with no field that the API server does not know (a
/// dry run; nothing is stored). Kinds that this cluster does not serve are an error. Returns how many there were.
///
/// # Errors
/// The first object that is refused, and its file.
pub(super) async fn examples_are_accepted(client: &Client, namespace: &str, folder: &Path) -> Result<usize> {
    let mut count = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
        let mut paths = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                count += accepted(client, namespace, &path)
                    .await
                    .with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(count)
}

async fn accepted(client: &Client, namespace: &str, path: &Path) -> Result<usize> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(path)?)?;
    let mut count = 0;
    for document in documents.iter().filter(|d| d.is_object()) {
        // Not an object of any cluster.
        if document["apiVersion"]
            .as_str()
            .is_some_and(|v| v.starts_with("kustomize."))
        {
            continue;
        }
        let (group, version) = match text(document, "apiVersion")?.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", text(document, "apiVersion")?),
        };
        let kind = GroupVersionKind::gvk(group, version, text(document, "kind")?);
        let (resource, capabilities) = discovery::pinned_kind(client, &kind).await?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
        };
        let mut object = document.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        let name = text(&document["metadata"], "name")?;
        let params = PatchParams::apply("serin-e2e").force().dry_run().validation_strict();
        api.patch(name, &params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("{} {name} is refused", kind.kind))?;
        count += 1;
    }
    Ok(count)
}
