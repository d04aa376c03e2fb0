//! One container of a pod from start to end: serves or runs a process, is probed, crashes, is started again, is stopped.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::behaviour::{Behaviour, JobEnd};
use super::probe::ProbePlan;
use super::server::{Identity, PodServer};
use crate::clock::now;
use crate::component::{Signal, send_signal};
use crate::namespace::exit_code;

/// What a container is, worked out from the pod.
#[derive(Clone, Debug)]
pub(crate) struct ContainerPlan {
    pub(crate) program: Program,
    pub(crate) behaviour: Arc<RwLock<Behaviour>>,
    pub(crate) restart: Restart,
    pub(crate) readiness: Option<ProbePlan>,
    pub(crate) liveness: Option<ProbePlan>,
    pub(crate) startup: Option<ProbePlan>,
    pub(crate) pre_stop: Duration,
    /// First pause before a restart; doubles up to 30 s. The first restart comes at once, as with the kubelet.
    pub(crate) backoff: Duration,
    /// How long a server goes on answering after SIGTERM unless `DRAIN_MS` says otherwise.
    pub(crate) drain: Duration,
}

#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// A server of ours on these ports.
    Server {
        ports: Vec<u16>,
        identity: Identity,
        start_delay: Duration,
    },
    /// Ends by itself after so long.
    Job { duration: Duration, end: JobEnd },
    /// A real program.
    Process {
        program: PathBuf,
        arguments: Vec<String>,
        environment: BTreeMap<String, String>,
        log: PathBuf,
    },
    /// Cannot be started; why, as the kubelet would put it.
    Refused { reason: &'static str, message: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// What is asked of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    /// End in order; at the deadline everything is closed.
    Stop {
        deadline: Instant,
    },
    Kill,
}

/// What a container reports for the pod's status.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) phase: Phase,
    pub(crate) last: Option<Ended>,
    pub(crate) restarts: u32,
    pub(crate) ready: bool,
    pub(crate) started: bool,
    pub(crate) pid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Waiting { reason: &'static str, message: String },
    Running { since: DateTime<Utc> },
    Ended(Ended),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) reason: &'static str,
    pub(crate) started: DateTime<Utc>,
    pub(crate) finished: DateTime<Utc>,
}

impl Report {
    pub(crate) fn creating() -> Self {
        Self {
            phase: Phase::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
            },
            last: None,
            restarts: 0,
            ready: false,
            started: false,
            pid: None,
        }
    }
}

/// Why a run of the container ended.
enum End {
    Exit(i32),
    Stopped(i32),
}

const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// A run of this length makes the next crash count as the first again.
const STEADY: Duration = Duration::from_secs(60);

/// Runs the container until it is stopped or has ended for good.
pub(crate) async fn supervise(
    plan: ContainerPlan,
    ip: Ipv4Addr,
    mut order: watch::Receiver<Order>,
    crash: Arc<Notify>,
    report: impl Fn(Report),
) {
    let mut state = Report::creating();
    let mut crashes: u32 = 0;
    loop {
        if let Program::Refused { reason, message } = &plan.program {
            state.phase = Phase::Waiting {
                reason,
                message: message.clone(),
            };
            report(state.clone());
            // Nothing to stop, but the pod exists until it is deleted.
            ordered(&mut order).await;
            return;
        }
        let begin = Instant::now();
        let started = now();
        let end = run(&plan, ip, &mut order, &crash, &mut state, &report).await;
        let (code, stopped) = match end {
            End::Exit(code) => (code, false),
            End::Stopped(code) => (code, true),
        };
        let ended = Ended {
            code,
            reason: if code == 0 { "Completed" } else { "Error" },
            started,
            finished: now(),
        };
        state.ready = false;
        state.started = false;
        state.pid = None;
        let again = match plan.restart {
            Restart::Always => true,
            Restart::OnFailure => code != 0,
            Restart::Never => false,
        };
        if stopped || !again {
            state.phase = Phase::Ended(ended);
            report(state);
            return;
        }
        crashes = if begin.elapsed() > STEADY { 0 } else { crashes };
        let pause = match crashes {
            0 => Duration::ZERO,
            n => LONGEST_BACKOFF.min(plan.backoff.saturating_mul(1 << (n - 1).min(10))),
        };
        crashes += 1;
        state.last = Some(ended);
        if !pause.is_zero() {
            let message = format!("back-off {} s restarting failed container", pause.as_secs_f32());
            state.phase = Phase::Waiting {
                reason: "CrashLoopBackOff",
                message,
            };
            report(state.clone());
            if tokio::time::timeout(pause, ordered(&mut order)).await.is_ok() {
                return;
            }
        }
        state.restarts += 1;
    }
}

/// One run from start to end.
async fn run(
    plan: &ContainerPlan,
    ip: Ipv4Addr,
    order: &mut watch::Receiver<Order>,
    crash: &Notify,
    state: &mut Report,
    report: &impl Fn(Report),
) -> End {
    let behaviour = plan
        .behaviour
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    let mut server = None;
    let mut child = None;
    let mut ends_at = behaviour.crash_after.map(|after| (Instant::now() + after, 1));
    match &plan.program {
        Program::Server {
            ports,
            identity,
            start_delay,
        } => {
            let delay = behaviour.start_delay.unwrap_or(*start_delay);
            if tokio::time::timeout(delay, ordered(order)).await.is_ok() {
                return End::Stopped(143);
            }
            if behaviour.crash_on_start {
                return End::Exit(1);
            }
            match PodServer::start(ip, ports, identity.clone(), plan.behaviour.clone()).await {
                Ok(listening) => server = Some(listening),
                Err(_) => return End::Exit(98),
            }
        }
        Program::Job { duration, end } => {
            if let JobEnd::Exit(code) = end {
                ends_at = Some((Instant::now() + *duration, *code));
            }
        }
        Program::Process {
            program,
            arguments,
            environment,
            log,
        } => match spawn(program, arguments, environment, log) {
            Ok(process) => child = Some(process),
            Err(_) => return End::Exit(127),
        },
        Program::Refused { .. } => return End::Stopped(0),
    }
    state.phase = Phase::Running { since: now() };
    state.pid = child.as_ref().and_then(Child::id);
    let probed = plan.readiness.is_some();
    state.started = plan.startup.is_none();
    state.ready = state.started && !probed && behaviour.ready;
    report(state.clone());

    let (said, mut verdicts) = mpsc::unbounded_channel();
    let _probes = AbortOnDrop(tokio::spawn(probes(plan.clone(), ip, said)));
    loop {
        tokio::select! {
            biased;
            order = ordered(order) => {
                return End::Stopped(stop(plan, &behaviour, order, server, child).await);
            }
            () = crash.notified() => {
                if let Some(mut child) = child {
                    let _ = child.kill().await;
                }
                return End::Exit(137);
            }
            () = sleep_until(ends_at.map(|(at, _)| at)) => {
                return End::Exit(ends_at.map_or(0, |(_, code)| code));
            }
            status = wait(&mut child) => return End::Exit(status),
            Some(verdict) = verdicts.recv() => {
                match verdict {
                    Verdict::Started => {
                        state.started = true;
                        state.ready = !probed && behaviour.ready;
                    }
                    Verdict::Ready(ready) => state.ready = ready && behaviour.ready,
                    Verdict::Dead => {
                        let deadline = Instant::now() + Duration::from_secs(30);
                        stop(plan, &behaviour, Order::Stop { deadline }, server, child).await;
                        return End::Exit(143);
                    }
                }
                report(state.clone());
            }
        }
    }
}

enum Verdict {
    Started,
    Ready(bool),
    Dead,
}

/// The startup probe first, then readiness and liveness side by side.
async fn probes(plan: ContainerPlan, ip: Ipv4Addr, said: mpsc::UnboundedSender<Verdict>) {
    // A receiver that is gone is a container that has ended: then this task is about to be aborted.
    let say = |verdict| drop(said.send(verdict));
    if let Some(startup) = &plan.startup {
        let (done, mut finished) = watch::channel(None);
        let verdict = async {
            finished
                .wait_for(Option::is_some)
                .await
                .map(|v| *v == Some(true))
                .unwrap_or(false)
        };
        let alive = tokio::select! {
            biased;
            alive = verdict => alive,
            () = startup.watch(ip, |good| { done.send_replace(Some(good)); }) => false,
        };
        if !alive {
            return say(Verdict::Dead);
        }
        say(Verdict::Started);
    }
    let readiness = async {
        match &plan.readiness {
            Some(probe) => probe.watch(ip, |good| say(Verdict::Ready(good))).await,
            None => std::future::pending().await,
        }
    };
    let liveness = async {
        match &plan.liveness {
            Some(probe) => {
                probe
                    .watch(ip, |good| {
                        if !good {
                            say(Verdict::Dead);
                        }
                    })
                    .await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::join!(readiness, liveness);
}

/// Ends a run as ordered and gives the exit code. At the deadline every socket closes, whoever still sends.
async fn stop(
    plan: &ContainerPlan,
    behaviour: &Behaviour,
    order: Order,
    server: Option<PodServer>,
    child: Option<Child>,
) -> i32 {
    let deadline = match order {
        Order::Stop { deadline } => deadline,
        // Dropping the server closes everything; dropping the child kills it.
        Order::Run | Order::Kill => return 137,
    };
    let in_order = async {
        tokio::time::sleep(plan.pre_stop).await;
        if let Some(mut server) = server {
            tokio::time::sleep(behaviour.drain.unwrap_or(plan.drain)).await;
            server.drain().await;
            return 0;
        }
        if let Some(mut child) = child {
            if let Some(pid) = child.id() {
                // It may have ended this moment.
                let _ = send_signal(pid, Signal::Term).await;
            }
            return child.wait().await.map_or(137, exit_code);
        }
        143
    };
    // At the deadline `in_order` is dropped, and the server or the child in it.
    tokio::time::timeout_at(deadline, in_order).await.unwrap_or(137)
}

fn spawn(
    program: &PathBuf,
    arguments: &[String],
    environment: &BTreeMap<String, String>,
    log: &PathBuf,
) -> std::io::Result<Child> {
    let out = std::fs::File::options().create(true).append(true).open(log)?;
    let errors = out.try_clone()?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// The order to end; a channel that is gone means that nobody is left to give one.
async fn ordered(order: &mut watch::Receiver<Order>) -> Order {
    order.wait_for(|o| *o != Order::Run).await.map_or(Order::Kill, |o| *o)
}

async fn wait(child: &mut Option<Child>) -> i32 {
    match child {
        Some(child) => child.wait().await.map_or(137, exit_code),
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A task that ends with the one that started it.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
