//! Runs tests: in stages, some side by side, each with a time limit, each told as it ends, and counted at the end.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::world::World;

/// When a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// One after another, before Serin is there.
    Before,
    /// Side by side, each in namespaces of its own.
    Together,
    /// One after another: they disturb everybody.
    Alone,
    /// One after another, when all else is over: they judge the whole run.
    End,
}

type Run = Box<dyn FnOnce(World) -> Pin<Box<dyn Future<Output = Result<String>>>> + Send>;

/// One test. It answers with what it measured, in a few words.
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) stage: Stage,
    pub(crate) is_long: bool,
    /// Runs on the simulated ground too.
    pub(crate) is_on_both: bool,
    pub(crate) limit: Duration,
    run: Run,
}

impl Test {
    pub(crate) fn new<F>(stage: Stage, name: impl Into<String>, run: impl FnOnce(World) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<String>> + 'static,
    {
        Self {
            name: name.into(),
            stage,
            is_long: false,
            is_on_both: false,
            limit: Duration::from_secs(300),
            run: Box::new(move |world| Box::pin(run(world))),
        }
    }

    /// Needs nothing but the API server, the gateway, users and metrics: runs on both grounds.
    pub(crate) fn on_both(mut self) -> Self {
        self.is_on_both = true;
        self
    }

    /// Only with `--long`.
    pub(crate) fn long(mut self) -> Self {
        self.is_long = true;
        self.limit = Duration::from_secs(1800);
        self
    }
}

/// Counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

/// Runs the tests of a stage, at most `at_once` side by side.
pub(crate) async fn run(world: &World, tests: Vec<Test>, at_once: usize, count: &Arc<Mutex<Count>>) {
    let permits = Arc::new(Semaphore::new(at_once));
    let mut all = JoinSet::new();
    for test in tests {
        let (world, permits, count) = (world.clone(), Arc::clone(&permits), Arc::clone(count));
        // Taken here: tests begin in the order of the list.
        let permit = Arc::clone(&permits).acquire_owned().await;
        all.spawn(async move {
            let _permit = permit;
            let begin = Instant::now();
            let Test { name, limit, run, .. } = test;
            // A thread of its own: a panic is a failure of this test only, and its future need not be Send.
            let runtime = tokio::runtime::Handle::current();
            let task = tokio::task::spawn_blocking(move || {
                runtime.block_on(async { tokio::time::timeout(limit, run(world)).await })
            });
            let ended = match task.await {
                Ok(Ok(result)) => result.map_err(|e| format!("{e:#}")),
                Ok(Err(_)) => Err(format!("not done within {} s", limit.as_secs())),
                Err(panic) => Err(format!("it panicked: {panic}")),
            };
            report(&count, &name, begin.elapsed().as_secs_f32(), ended);
        });
    }
    while all.join_next().await.is_some() {}
}

/// Runs the tests one after another on the simulated ground, each in a world and a virtual time of its own.
pub(crate) fn run_simulated(tests: Vec<Test>) -> Result<Count> {
    let count = Arc::new(Mutex::new(Count::default()));
    for Test { name, limit, run, .. } in tests {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let begin = std::time::Instant::now();
        let ended = runtime.block_on(async {
            let world = World::simulated()?;
            let result = tokio::time::timeout(limit, run(world.clone())).await;
            let took = world.now();
            let result = result.map_err(|_| anyhow::anyhow!("not done within {} s", limit.as_secs()))??;
            world.end().await?;
            anyhow::Ok(format!(
                "{result}; until {} of a day that began at noon",
                took.format("%H:%M:%S")
            ))
        });
        report(
            &count,
            &name,
            begin.elapsed().as_secs_f32(),
            ended.map_err(|e| format!("{e:#}")),
        );
    }
    let count = *count.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(count)
}

/// Tells how a test ended, and counts.
fn report(count: &Mutex<Count>, name: &str, seconds: f32, ended: Result<String, String>) {
    let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
    match ended {
        Ok(figures) => {
            count.passed += 1;
            let colon = if figures.is_empty() { "" } else { ": " };
            println!("test {name} ... ok ({seconds:.1} s){colon}{figures}");
        }
        Err(why) => {
            count.failed += 1;
            let why = why.trim_end().replace('\n', "\n    ");
            println!("--- {name}\n    {why}\ntest {name} ... FAILED ({seconds:.1} s)\nFAILED: {name}");
        }
    }
}
