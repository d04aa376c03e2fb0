//! YAML manifests onto the API server, by server-side apply.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, Scope, pinned_kind};
use serde_json::Value;
use tokio::time::Instant;

use crate::error::{Error, Result, answer};

const MANAGER: &str = "serin-cluster";

/// The documents of a YAML text, empty ones left out.
///
/// # Errors
/// When the text is no YAML.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    if text.trim_start().starts_with('{')
        && let Ok(document) = serde_json::from_str(text)
    {
        return Ok(vec![document]);
    }
    // Aliases could make a small text large; manifests are long without them. So no budget but no alias tricks either.
    let options = serde_saphyr::options! { budget: None };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|e| Error::Other(format!("failed to read YAML: {e}")))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The YAML files of a folder, by name, or the file itself.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(Error::io("read", path))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"))
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| !n.to_string_lossy().starts_with("kustomization"))
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Applies documents in their order. A kind whose CRD was made a moment ago is waited for.
pub(crate) async fn apply(client: &kube::Client, documents: &[Value]) -> Result<()> {
    let mut kinds: BTreeMap<String, (ApiResource, ApiCapabilities)> = BTreeMap::new();
    for document in documents {
        let object: DynamicObject = serde_json::from_value(document.clone())
            .map_err(|e| Error::Other(format!("not a Kubernetes object: {e}")))?;
        let types = object
            .types
            .clone()
            .ok_or_else(|| Error::Other("a document has no apiVersion and kind".into()))?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let what = format!("{} `{name}`", types.kind);
        let key = format!("{}/{}", types.api_version, types.kind);
        if !kinds.contains_key(&key) {
            let gvk = GroupVersionKind::try_from(&types).map_err(|e| Error::Other(format!("{what}: {e}")))?;
            kinds.insert(key.clone(), discover(client, &gvk).await?);
        }
        let (resource, capabilities) = &kinds[&key];
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client.clone(), resource),
            Scope::Namespaced => {
                let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
                Api::namespaced_with(client.clone(), namespace, resource)
            }
        };
        let params = PatchParams::apply(MANAGER).force();
        answer(
            format!("apply {what}"),
            api.patch(&name, &params, &Patch::Apply(document)),
        )
        .await?;
    }
    Ok(())
}

async fn discover(client: &kube::Client, gvk: &GroupVersionKind) -> Result<(ApiResource, ApiCapabilities)> {
    let begin = Instant::now();
    loop {
        match answer(
            format!("find the resource of kind {}", gvk.kind),
            pinned_kind(client, gvk),
        )
        .await
        {
            Ok(found) => return Ok(found),
            Err(_) if begin.elapsed() < Duration::from_secs(10) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(e) => return Err(e),
        }
    }
}

/// Applies CRDs and waits until the API server serves them all.
pub(crate) async fn apply_crds(client: &kube::Client, documents: &[Value]) -> Result<()> {
    futures::future::try_join_all(documents.chunks(1).map(|one| apply(client, one))).await?;
    let resource = ApiResource {
        group: "apiextensions.k8s.io".into(),
        version: "v1".into(),
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        plural: "customresourcedefinitions".into(),
    };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    for document in documents {
        let name = document
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let begin = Instant::now();
        loop {
            let crd = answer(format!("read the CRD `{name}`"), api.get(name)).await?;
            let conditions = crd.data.pointer("/status/conditions").and_then(Value::as_array);
            let is = |kind: &str| {
                conditions.is_some_and(|list| list.iter().any(|c| c["type"] == kind && c["status"] == "True"))
            };
            if is("Established") {
                break;
            }
            if begin.elapsed() > Duration::from_secs(20) {
                return Err(Error::Other(format!(
                    "the CRD `{name}` is not Established after 20 s: {}",
                    crd.data.pointer("/status/conditions").unwrap_or(&Value::Null)
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_documents_are_left_out() {
        let found = documents("---\nkind: A\n---\n# nothing\n---\nkind: B\n").expect("YAML");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1]["kind"], "B");
    }
}
