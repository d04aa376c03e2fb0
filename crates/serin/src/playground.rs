//! `serin playground`: flags, the terminal, and the end.

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use serin_playground::{Folder, Line, Name, Options, Playground, Stage, Tone, find_prometheus};
use serin_staging::fault::duration;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::files;

/// See Serin at work without a cluster: a simulated Kubernetes on loopback, with pods, a gateway, users and Prometheus.
#[derive(Debug, Args)]
#[command(
    after_help = "Everything is on loopback, nothing is installed, nothing needs root, and Ctrl-C ends all of it.\n\
                  docs/playground.md says what is real and what is not."
)]
pub(crate) struct Flags {
    /// Your own manifests instead of the shop: files, folders, or - for standard input.
    #[arg(long = "file", short = 'f', value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Users' requests per second to each Rollout.
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    rps: f64,
    /// Prometheus to start, or `none` for the one within; default: the one in PATH.
    #[arg(long, value_name = "PROGRAM")]
    prometheus: Option<PathBuf>,
    /// Between two scrapes of a pod.
    #[arg(long, default_value = "1s", value_parser = interval)]
    scrape_interval: Duration,
    /// Port of the gateway on 127.0.0.1; 0 takes any that is free.
    #[arg(long, default_value_t = 0)]
    gateway_port: u16,
    /// Port of the API server on 127.0.0.1; 0 takes any that is free.
    #[arg(long, default_value_t = 0)]
    api_port: u16,
    /// Print JSON, a line each: first the addresses, then what happens.
    #[arg(long)]
    json: bool,
    /// Level of the controller's log, which is a file: debug, info, warn or error.
    #[arg(long, default_value = "info", value_parser = crate::loglevel::checked)]
    loglevel: String,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.0..=5_000.0).contains(rate));
    rate.ok_or_else(|| format!("{text:?} is no number between 0 and 5000"))
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_millis(100) {
        return Err(format!("{text} is less than 100ms"));
    }
    Ok(interval)
}

/// Runs it until Ctrl-C or SIGTERM.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let begin = Instant::now();
    let stage = stage(flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let code = runtime.block_on(show(flags, stage, begin));
    // Whatever reads standard input cannot be interrupted.
    runtime.shutdown_background();
    code
}

fn stage(flags: &Flags) -> Result<Stage> {
    if flags.files.is_empty() {
        return Ok(Stage::shop());
    }
    let mut documents = Vec::new();
    for path in &flags.files {
        files::collect(path, &mut documents).map_err(anyhow::Error::msg)?;
    }
    let stage = Stage::of(documents);
    if stage.rollouts.is_empty() {
        bail!(
            "there is no Rollout in what was given: hand in the file with your Rollout, its AnalysisTemplates, Services and routes"
        );
    }
    Ok(stage)
}

/// The Prometheus to start, if any.
fn prometheus(flags: &Flags) -> Option<PathBuf> {
    match &flags.prometheus {
        Some(_) if wants_none(flags) => None,
        Some(program) => Some(program.clone()),
        None => find_prometheus(std::env::var_os("PATH").as_deref()),
    }
}

fn wants_none(flags: &Flags) -> bool {
    flags.prometheus.as_deref() == Some(Path::new("none"))
}

async fn show(flags: &Flags, stage: Stage, begin: Instant) -> Result<ExitCode> {
    let mut ends = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        ends.push(signal(kind).context("failed to watch for signals")?);
    }
    let [interrupt, terminate, hangup] = ends.as_mut_slice() else {
        bail!("three signals are watched; this is a bug in Serin");
    };
    let end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    let mut end = std::pin::pin!(end);
    let page = Page::new(flags, &stage, begin);
    let options = Options {
        prometheus: prometheus(flags),
        rps: flags.rps,
        scrape_interval: flags.scrape_interval,
        gateway_port: flags.gateway_port,
        api_port: flags.api_port,
        stage,
    };
    let folder = Folder::create()?;
    log(flags, folder.log())?;
    page.opening();
    let (mut playground, mut lines) = tokio::select! {
        biased;
        () = &mut end => return Ok(ExitCode::SUCCESS),
        started = Playground::start(folder, options.clone()) => started?,
    };
    page.addresses(&playground, &options);
    let mut typed = Typed::new(flags);
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            () = page.unread.notified() => break,
            error = playground.broken() => {
                playground.end().await;
                return Err(error.into());
            }
            Some(line) = lines.recv() => page.line(&line),
            Some(line) = typed.next() => match wish(&options.stage, &line) {
                Wish::End => break,
                Wish::Nothing => {}
                Wish::Release(index, image) => release(&page, &playground, &options.stage, index, &image),
                Wish::Help(what) => {
                    let wrong = match line.as_str() {
                        "help" | "h" | "?" => String::new(),
                        other => format!("{other:?} was not understood. "),
                    };
                    page.say(&format!("{wrong}You can type: {what}."));
                }
            },
        }
    }
    let users = playground.users();
    page.say(&format!(
        "\nEnding: {} requests of users, {} failed. The kubeconfig and everything else is gone.",
        users.requests, users.failed
    ));
    playground.end().await;
    // Ctrl-C is how a playground ends: no failure.
    Ok(ExitCode::SUCCESS)
}

/// The controller's log goes into a file: the terminal is for what happens.
fn log(flags: &Flags, path: &Path) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&flags.loglevel)
        .with_context(|| format!("--loglevel {:?}", flags.loglevel))?;
    let file = std::fs::File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::sync::Mutex::new(file))
        .init();
    Ok(())
}

/// What a person types, if there is one.
struct Typed(Option<tokio::io::Lines<BufReader<tokio::io::Stdin>>>);

impl Typed {
    fn new(flags: &Flags) -> Self {
        let person = std::io::stdin().is_terminal() && !flags.json;
        Self(person.then(|| BufReader::new(tokio::io::stdin()).lines()))
    }

    async fn next(&mut self) -> Option<String> {
        let lines = self.0.as_mut()?;
        match lines.next_line().await {
            Ok(Some(line)) => Some(line.trim().to_owned()),
            // Nobody types any more: the rest goes on.
            _ => {
                self.0 = None;
                None
            }
        }
    }
}

/// Releases by one word: tags.
const WORDS: [(&str, &str); 3] = [("good", "v2"), ("errors", "v3-errors5"), ("slow", "v4-latency900ms")];

/// What somebody typed.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    End,
    /// The index of a Rollout, and its new image.
    Release(usize, String),
    /// Not understood, or asked for: what can be typed.
    Help(String),
}

/// Reads a line: `good`, `shop:v2`, and with several Rollouts `web good`.
fn wish(stage: &Stage, line: &str) -> Wish {
    let words: Vec<&str> = line.split_whitespace().collect();
    let named = |wanted: &str| {
        let mut rollouts = stage.rollouts.iter();
        rollouts.position(|(namespace, name)| name == wanted || format!("{namespace}/{name}") == wanted)
    };
    let (index, what) = match words.as_slice() {
        [] => return Wish::Nothing,
        ["q" | "quit" | "exit"] => return Wish::End,
        [what] => (Some(0), *what),
        [rollout, what] => (named(rollout), *what),
        _ => (None, ""),
    };
    let Some(index) = index.filter(|index| *index < stage.rollouts.len()) else {
        return Wish::Help(typable(stage));
    };
    let repository = stage.images.get(index).map_or("app", String::as_str);
    match WORDS.iter().find(|(known, _)| *known == what) {
        Some((_, tag)) => Wish::Release(index, format!("{repository}:{tag}")),
        // Without a tag it is any word that was mistyped.
        None if what
            .split_once(':')
            .is_some_and(|(name, tag)| !name.is_empty() && !tag.is_empty()) =>
        {
            Wish::Release(index, what.to_owned())
        }
        None => Wish::Help(typable(stage)),
    }
}

/// What can be typed.
fn typable(stage: &Stage) -> String {
    let image = stage.images.first().map_or("app", String::as_str);
    let all = format!("good, errors, slow, or an image with its tag, such as {image}:v2; q to end");
    match stage.rollouts.as_slice() {
        [(_, first), .., (_, last)] => {
            format!("{all}. It goes to Rollout/{first}; to another one by its name before it: {last} good")
        }
        _ => all,
    }
}

fn release(page: &Page, playground: &Playground, stage: &Stage, index: usize, image: &str) {
    let Some((namespace, name)) = stage.rollouts.get(index) else {
        return;
    };
    match playground.release(namespace, name, image) {
        Ok(()) => page.say(&format!(
            "the image of Rollout/{name} in namespace {namespace} becomes {image}"
        )),
        Err(error) => page.say(&error.to_string()),
    }
}

/// `web: ` where there are other Rollouts, with the namespace where another has the same name.
fn prefix(rollout: &Name, known: &BTreeSet<Name>) -> String {
    let (namespace, name) = rollout;
    match known.len() {
        0 | 1 => String::new(),
        _ if known.iter().any(|other| other.1 == *name && other != rollout) => format!("{namespace}/{name}: "),
        _ => format!("{name}: "),
    }
}

/// The terminal; readable without one, too.
struct Page {
    json: bool,
    colours: bool,
    /// No Prometheus is wanted.
    wants_none: bool,
    begin: Instant,
    /// Every Rollout that there was so far.
    known: Mutex<BTreeSet<Name>>,
    /// Told when nobody reads any more.
    unread: tokio::sync::Notify,
}

impl Page {
    fn new(flags: &Flags, stage: &Stage, begin: Instant) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            json: flags.json,
            wants_none: wants_none(flags),
            known: Mutex::new(stage.rollouts.iter().cloned().collect()),
            unread: tokio::sync::Notify::new(),
            colours: std::io::stdout().is_terminal() && !plain,
            begin,
        }
    }

    /// A reader that went away must not end anything before it has cleaned up; then it is the end.
    fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            self.unread.notify_one();
        }
    }

    fn say(&self, text: &str) {
        if !self.json {
            self.print(text);
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours && !code.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn opening(&self) {
        let title = self.paint("1", "Serin's playground");
        self.say(&format!(
            "{title}: a simulated Kubernetes in this process, the controller as it is shipped, pods that are HTTP servers, a\n\
             gateway, users and Prometheus, all on loopback. Ctrl-C ends all of it and leaves nothing.\n"
        ));
    }

    fn addresses(&self, playground: &Playground, options: &Options) {
        let at = playground.addresses();
        let url = |address| format!("http://{address}");
        if self.json {
            let addresses = json!({
                "kubeconfig": at.kubeconfig, "api": url(at.api), "gateway": url(at.gateway), "prometheus": url(at.prometheus),
                "prometheus_is_real": options.prometheus.is_some(), "controller": url(at.controller), "log": at.log,
                "hosts": options.stage.doors.iter().map(|door| &door.host).collect::<Vec<_>>(),
            });
            self.print(&addresses.to_string());
            return;
        }
        let prometheus = match &options.prometheus {
            Some(program) => program.display().to_string(),
            None => {
                let why = if self.wants_none {
                    "none, as --prometheus none says"
                } else {
                    "none was found in PATH (--prometheus names one)"
                };
                format!("{why}: in its place PromQL is evaluated here, over real scrapes")
            }
        };
        let mut rows = vec![
            (
                "API server",
                url(at.api),
                "plain HTTP, nobody is asked who they are".to_owned(),
            ),
            (
                "gateway",
                url(at.gateway),
                "follows HTTPRoutes and their weights".to_owned(),
            ),
            ("pods", at.pods.clone(), "each an HTTP server of its own".to_owned()),
            ("Prometheus", url(at.prometheus), prometheus),
            (
                "controller",
                url(at.controller) + "/metrics",
                format!("log: {}", at.log.display()),
            ),
        ];
        for ((namespace, name), door) in options.stage.rollouts.iter().zip(&options.stage.doors) {
            let users = format!("curl -H 'Host: {}' {}{}", door.host, url(at.gateway), door.path);
            let rate = format!("{} requests/s come in as: {users}", options.rps);
            rows.push(("Rollout", format!("{namespace}/{name}"), rate));
        }
        for (what, place, more) in rows {
            let what = self.paint("1", &format!("{what:<11}"));
            self.say(&format!("  {what} {place:<30} {more}"));
        }
        self.try_this(playground, options);
    }

    /// What a newcomer may type.
    fn try_this(&self, playground: &Playground, options: &Options) {
        let Some((namespace, name)) = options.stage.rollouts.first() else {
            return;
        };
        let kubeconfig = playground.addresses().kubeconfig.display().to_string();
        let release = |image: &str| {
            let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
            format!("kubectl -n {namespace} patch rollout {name} --type json -p '{patch}'")
        };
        self.say(&format!(
            "\nTry, in another terminal ({:.1} s after the start):\n",
            self.begin.elapsed().as_secs_f64()
        ));
        let image = options.stage.images.first().map_or("app", String::as_str);
        for (what, command) in [
            ("", format!("export KUBECONFIG={kubeconfig}")),
            ("watch it", format!("kubectl -n {namespace} get rollout {name} -w")),
            ("a good release", release(&format!("{image}:v2"))),
            (
                "a bad one: 5% of its answers are errors",
                release(&format!("{image}:v3-errors5")),
            ),
        ] {
            if !what.is_empty() {
                self.say(&self.paint("2", &format!("  # {what}")));
            }
            self.say(&format!("  {command}"));
        }
        if std::io::stdin().is_terminal() {
            self.say(&format!("\nor type here: {}.", typable(&options.stage)));
        }
        self.say("");
    }

    fn line(&self, line: &Line) {
        let at = line.at.saturating_duration_since(self.begin).as_secs_f64();
        if self.json {
            let tone = format!("{:?}", line.tone).to_lowercase();
            let rollout = line
                .rollout
                .as_ref()
                .map(|(namespace, name)| format!("{namespace}/{name}"));
            let line = json!({
                "at": (at * 1000.0).round() / 1000.0, "kind": tone, "rollout": rollout, "text": line.text,
            });
            self.print(&line.to_string());
            return;
        }
        let colour = match line.tone {
            Tone::Plain => "",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Traffic => "1",
            Tone::Note => "2",
        };
        let clock = self.paint("2", &format!("{at:>7.1} s"));
        let whom = line.rollout.as_ref().map_or_else(String::new, |rollout| {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(rollout.clone());
            prefix(rollout, &known)
        });
        self.print(&format!(
            "{clock}  {}",
            self.paint(colour, &format!("{whom}{}", line.text))
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Stage {
        let named = |name: &str| ("team".to_owned(), name.to_owned());
        Stage {
            rollouts: vec![named("web"), named("api")],
            images: vec!["web".to_owned(), "registry:5000/api".to_owned()],
            ..Stage::default()
        }
    }

    #[test]
    fn words_and_images_release_and_anything_else_is_answered_with_what_can_be_typed() {
        let of = |line: &str| wish(&two(), line);
        let release = |index: usize, image: &str| Wish::Release(index, image.to_owned());
        assert_eq!(of(""), Wish::Nothing);
        assert_eq!(of("quit"), Wish::End);
        assert_eq!(of("good"), release(0, "web:v2"));
        assert_eq!(of("web:v7"), release(0, "web:v7"));
        assert_eq!(of("api errors"), release(1, "registry:5000/api:v3-errors5"));
        assert_eq!(of("team/api x:1"), release(1, "x:1"));
        for wrong in [
            "help",
            "foo bar",
            "web",
            "web help",
            "nobody good",
            "a b c",
            ":v1",
            "web:",
        ] {
            let Wish::Help(help) = of(wrong) else {
                panic!("{wrong} is no help");
            };
            assert!(
                help.contains("good, errors, slow") && help.contains("Rollout/web") && help.contains("api good"),
                "{help}"
            );
        }
        let Wish::Help(help) = wish(&Stage::shop(), "help") else {
            panic!("no help");
        };
        assert!(help.contains("shop:v2") && !help.contains("Rollout/"), "{help}");
    }

    #[test]
    fn lines_name_their_rollout_where_there_are_several() {
        let name = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        let web = name("a", "web");
        let known = |others: &[Name]| -> BTreeSet<Name> { others.iter().chain([&web]).cloned().collect() };
        assert_eq!(prefix(&web, &known(&[])), "");
        assert_eq!(prefix(&web, &known(&[name("a", "api")])), "web: ");
        assert_eq!(prefix(&web, &known(&[name("b", "web")])), "a/web: ");
    }
}
