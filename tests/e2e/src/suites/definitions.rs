//! The shipped resource definitions and examples on the real API server, before any controller is there.

use anyhow::{Context, Result};
use futures::future::LocalBoxFuture;
use serin_cluster::now;

use super::resources;
use crate::{
    install::root,
    runner::{Stage, Test},
    space::Space,
    world::World,
};

pub(super) fn tests(round: usize) -> Vec<Test> {
    if round > 0 {
        return Vec::new();
    }
    let test =
        |name: &str, run: fn(World) -> LocalBoxFuture<'static, Result<String>>| Test::new(Stage::Before, name, run);
    vec![
        test("plain kubectl apply takes the shipped resource definitions", |w| {
            Box::pin(applied(w))
        }),
        test("the API server finds nothing wrong with the definitions", |w| {
            Box::pin(async move {
                let count = resources::definitions_are_served(&w.client).await?;
                Ok(format!("{count} kinds"))
            })
        }),
        test("stored objects hash as recorded", |w| {
            Box::pin(async move {
                let namespace = namespace(&w, "vectors").await?;
                let count = resources::stored_objects_hash_as_recorded(&w.client, &namespace).await?;
                Ok(format!("{count} vectors"))
            })
        }),
        test("the API server refuses what it was recorded to refuse", |w| {
            Box::pin(async move {
                let namespace = namespace(&w, "refusals").await?;
                let (refused, all) = resources::recorded_refusals_are_refused(&w.client, &namespace).await?;
                Ok(format!("{refused} of {all} refused"))
            })
        }),
        test("status and scale are subresources", |w| {
            Box::pin(async move {
                let namespace = namespace(&w, "subresources").await?;
                resources::rollouts_have_their_subresources(&w.client, &namespace).await?;
                Ok(String::new())
            })
        }),
        test("every example and ready template is accepted as it is", |w| {
            Box::pin(async move {
                let namespace = namespace(&w, "examples").await?;
                // The ready templates without the rules beside them, which are Prometheus' and not Kubernetes'.
                let ready = w.cluster().dir().join("ready-templates");
                std::fs::create_dir_all(&ready)?;
                for name in ["http-error-rate", "http-latency-p99", "http-success-rate"] {
                    let file = format!("{name}.yaml");
                    std::fs::copy(root().join("analysis-templates").join(&file), ready.join(&file))?;
                }
                let mut count = 0;
                for folder in [root().join("examples"), ready] {
                    count += resources::examples_are_accepted(&w.client, &namespace, &folder).await?;
                }
                Ok(format!("{count} objects"))
            })
        }),
    ]
}

async fn namespace(world: &World, name: &str) -> Result<String> {
    Space::new(world, name).await.map(|space| space.namespace)
}

async fn applied(world: World) -> Result<String> {
    let folder = root().join("deploy/crds");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with("-crd.yaml"))
        {
            files.push(path.to_str().context("a file's name that is no text")?.to_owned());
        }
    }
    let arguments: Vec<&str> = ["apply"]
        .into_iter()
        .chain(files.iter().flat_map(|f| ["-f", f.as_str()]))
        .collect();
    let begin = now();
    // The definitions are there from the start of the cluster; client-side apply takes them over.
    let said = world.cluster().kubectl(&arguments).await?;
    let count = said
        .lines()
        .filter(|line| line.starts_with("customresourcedefinition."))
        .count();
    anyhow::ensure!(count == 5, "kubectl said: {said}");
    Ok(format!(
        "{count} definitions in {:.1} s",
        (now() - begin).as_seconds_f64()
    ))
}
