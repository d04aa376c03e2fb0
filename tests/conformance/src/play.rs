//! Plays cases on a server, whichever it is: both are a `kube::Client` that raw requests are sent through.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::json;

use crate::answer::{Answer, Normaliser, Raw};
use crate::case::{Case, Step, Variables};

/// How long an answer may take. A watch ends after a second by its own parameter; 504 for a future version takes three.
const PATIENCE: Duration = Duration::from_secs(15);

/// Plays all, some at once, and gives the answers in the order of the cases. `prefix` begins the namespaces' names.
///
/// # Errors
/// When a namespace cannot be made.
pub async fn all(client: &Client, cases: &[Case], prefix: &str, at_once: usize) -> Result<Vec<Vec<Answer>>> {
    let plays = cases.iter().enumerate().map(|(number, case)| async move {
        let namespace = format!("{prefix}-{number}");
        let answers = one(client, case, &namespace).await;
        (number, answers.with_context(|| case.name.clone()))
    });
    // In the order in which they end: one that waits for its watch to end holds up no other.
    let mut answers: Vec<(usize, Result<Vec<Answer>>)> =
        futures::stream::iter(plays).buffer_unordered(at_once).collect().await;
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answers)| answers).collect()
}

/// Plays one case in a namespace, which it makes.
///
/// # Errors
/// When the namespace cannot be made.
pub async fn one(client: &Client, case: &Case, namespace: &str) -> Result<Vec<Answer>> {
    let create = Step::new("POST", "/api/v1/namespaces")
        .json(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    let mut variables = Variables::new(namespace);
    let made = send(client, &create, &variables).await;
    anyhow::ensure!(
        made.status == 201,
        "the namespace was not made: {} {}",
        made.status,
        made.text
    );
    let mut normaliser = Normaliser::new(namespace);
    let mut answers = Vec::with_capacity(case.steps.len());
    for step in &case.steps {
        if reads_a_cache(step) {
            settle(client, step, &variables).await;
        }
        let raw = send(client, step, &variables).await;
        if step.method != "GET" && step.path.contains("/customresourcedefinitions") {
            until_established(client, step, &variables).await;
        }
        if !step.save.is_empty() {
            let body = raw.json(false);
            for (name, pointer) in &step.save {
                if let Some(value) = body.pointer(pointer).and_then(serde_json::Value::as_str) {
                    variables.set(name, value);
                }
            }
        }
        answers.push(normaliser.answer(step, &raw));
    }
    Ok(answers)
}

/// Has the server set up storage and cache of every kind, which it does when the kind is first asked for: a watch from a version
/// before that would be too old.
///
/// # Errors
/// Which kind was not ready in time.
pub async fn warm(client: &Client) -> Result<()> {
    let asked = crate::kinds::kinds().iter().map(|kind| async move {
        let variables = Variables::new("default");
        for query in ["labelSelector=nobody%3Dhas-this", "watch=true&timeoutSeconds=1"] {
            let raw = send(
                client,
                &Step::new("GET", format!("{}?{query}", kind.everywhere())),
                &variables,
            )
            .await;
            anyhow::ensure!(
                raw.status == 200,
                "{} are not served: {} {}",
                kind.label(),
                raw.status,
                raw.text
            );
        }
        Ok(())
    });
    futures::future::try_join_all(asked).await?;
    Ok(())
}

/// Watches and reads "from any version" are answered out of a cache, which may be behind.
fn reads_a_cache(step: &Step) -> bool {
    step.method == "GET" && (step.is_watch() || step.path.contains("resourceVersion="))
}

/// A read of the present makes the cache catch up.
async fn settle(client: &Client, step: &Step, variables: &Variables) {
    let path = step.path.split('?').next().unwrap_or_default();
    // An object's path ends in its name, a collection's in the plural.
    let is_object = crate::kinds::kinds()
        .iter()
        .all(|kind| !path.ends_with(&format!("/{}", kind.resource)));
    let collection = if is_object {
        path.rsplit_once('/').map_or(path, |(folder, _)| folder)
    } else {
        path
    };
    let ask = Step::new("GET", format!("{collection}?labelSelector=nobody%3Dhas-this"));
    send(client, &ask, variables).await;
}

/// A definition is taken up by controllers inside of the API server, some moments after the answer.
async fn until_established(client: &Client, step: &Step, variables: &Variables) {
    let path = step.path.split('?').next().unwrap_or_default();
    let name = step.body.as_ref().and_then(|body| body["metadata"]["name"].as_str());
    let ask = match (step.method.as_str(), name) {
        ("POST", Some(name)) => Step::new("GET", format!("{path}/{name}")),
        ("POST", None) => return,
        _ => Step::new("GET", path),
    };
    for _ in 0..100 {
        let now = send(client, &ask, variables).await.json(false);
        let conditions = now["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let is = |name: &str| {
            conditions
                .iter()
                .any(|one| one["type"] == name && one["status"] == "True")
        };
        // What is being deleted goes by itself, after its objects.
        let is_going = now["metadata"]["deletionTimestamp"].is_string();
        if now["kind"] != "CustomResourceDefinition" || is("Established") && !is_going && has_its_names(&now) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the names that are asked for have been accepted.
fn has_its_names(definition: &serde_json::Value) -> bool {
    let (asked, accepted) = (&definition["spec"]["names"], &definition["status"]["acceptedNames"]);
    asked
        .as_object()
        .is_some_and(|names| names.iter().all(|(field, name)| accepted[field] == *name))
}

/// Sends one request and reads the whole answer. What goes wrong on the way is an answer with status 0.
async fn send(client: &Client, step: &Step, variables: &Variables) -> Raw {
    let mut tries = 0;
    loop {
        match tokio::time::timeout(PATIENCE, ask(client, step, variables)).await {
            // A cache that is being filled says so when its resource is first asked for.
            Ok(Ok(raw)) if raw.status == 429 && tries < 200 => tokio::time::sleep(Duration::from_millis(100)).await,
            Ok(Ok(raw)) => return raw,
            Ok(Err(error)) => return nothing(&format!("{error:#}")),
            Err(_) => return nothing("no answer in time"),
        }
        tries += 1;
    }
}

fn nothing(why: &str) -> Raw {
    Raw {
        status: 0,
        kind: "application/json".into(),
        warnings: Vec::new(),
        text: why.into(),
    }
}

async fn ask(client: &Client, step: &Step, variables: &Variables) -> Result<Raw> {
    let body = match (&step.body, &step.text) {
        (Some(body), _) => serde_json::to_vec(&variables.fill_value(body))?,
        (None, Some(text)) => variables.fill(text).into_bytes(),
        (None, None) => Vec::new(),
    };
    let mut request = http::Request::builder()
        .method(step.method.as_str())
        .uri(variables.fill(&step.path))
        .header("accept", step.accept.as_deref().unwrap_or("application/json"));
    if let Some(kind) = &step.content_type {
        request = request.header("content-type", kind);
    }
    let response = client.send(request.body(Body::from(body))?).await?;
    let header = |name: &str| {
        let values = response.headers().get_all(name);
        values
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect::<Vec<_>>()
    };
    let (kind, warnings) = (header("content-type").join(", "), header("warning"));
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(Raw {
        status,
        kind,
        warnings,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}
