//! How a pod behaves, read off its image, environment and arguments. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

/// The behaviour of one container. Each field can be set by an environment variable of the container or by an argument
/// of the same meaning: `ERROR_RATE=0.1` as `--error-rate=0.1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// `ERROR_RATE`: share of answers (0 to 1) that are a 500.
    pub error_rate: f64,
    /// `LATENCY_MS`: added to an answer's usual few milliseconds.
    pub latency: Duration,
    /// `LATENCY_SHARE`: share of answers that `latency` is added to; 1 when not set.
    pub latency_share: f64,
    /// `START_DELAY_MS`: until it listens. None: as the image's tag says.
    pub start_delay: Option<Duration>,
    /// `CRASH_AFTER_MS`: exits with code 1 so long after each start.
    pub crash_after: Option<Duration>,
    /// `CRASH_ON_START=true`: exits with code 1 at once.
    pub crash_on_start: bool,
    /// `READY=false`: never becomes ready.
    pub ready: bool,
    /// `DRAIN_MS`: how long it goes on answering after SIGTERM. None: as the node is set.
    pub drain: Option<Duration>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            error_rate: 0.0,
            latency: Duration::ZERO,
            latency_share: 1.0,
            start_delay: None,
            crash_after: None,
            crash_on_start: false,
            ready: true,
            drain: None,
        }
    }
}

impl Behaviour {
    /// Reads environment and arguments; later ones win. What is not understood is told.
    ///
    /// # Errors
    /// The variable and its value, for the pod's status.
    pub fn of(container: &Container) -> Result<Self, String> {
        let mut behaviour = Self::default();
        for variable in container.env.iter().flatten() {
            if let Some(value) = &variable.value {
                behaviour.set(&variable.name, value)?;
            }
        }
        let arguments: Vec<&String> = container
            .command
            .iter()
            .flatten()
            .chain(container.args.iter().flatten())
            .collect();
        let mut rest = arguments.iter().peekable();
        while let Some(argument) = rest.next() {
            let Some(flag) = argument.strip_prefix("--") else {
                if let Some((name, value)) = argument.split_once('=') {
                    behaviour.set(name, value)?;
                }
                continue;
            };
            let name = |text: &str| text.replace('-', "_").to_uppercase();
            match flag.split_once('=') {
                Some((flag, value)) => behaviour.set(&name(flag), value)?,
                None => {
                    let value = rest
                        .next_if(|next| !next.starts_with("--"))
                        .map_or("true", |next| next.as_str());
                    behaviour.set(&name(flag), value)?;
                }
            }
        }
        Ok(behaviour)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = |wanted: &str| format!("{name}={value}: {wanted}");
        let share = || match value.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(wrong("a number from 0 to 1 is needed")),
        };
        let millis = || {
            value
                .parse()
                .map(Duration::from_millis)
                .map_err(|_| wrong("a whole number of milliseconds is needed"))
        };
        let flag = || match value.to_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" | "" => Ok(false),
            _ => Err(wrong("true or false is needed")),
        };
        match name {
            "ERROR_RATE" => self.error_rate = share()?,
            "LATENCY_MS" => self.latency = millis()?,
            "LATENCY_SHARE" => self.latency_share = share()?,
            "START_DELAY_MS" => self.start_delay = Some(millis()?),
            "CRASH_AFTER_MS" => self.crash_after = Some(millis()?),
            "CRASH_ON_START" => self.crash_on_start = flag()?,
            "READY" => self.ready = flag()?,
            "DRAIN_MS" => self.drain = Some(millis()?),
            _ => {}
        }
        Ok(())
    }
}

/// Whether the n-th answer (from 0) belongs to a share of all answers. Evenly spread and exact: of any 100 consecutive
/// answers, a share of 0.05 hits 5.
pub(crate) fn hits(share: f64, n: u64) -> bool {
    let n = n as f64;
    ((n + 1.0) * share).floor() > (n * share).floor()
}

/// What an image name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// A program that serves HTTP; listens after so long.
    App {
        /// Until it listens.
        start_delay: Duration,
    },
    /// No registry has it.
    Unknown,
    /// Serin's own controller.
    Controller,
}

/// Ready 0.15 s after creation, 1.5 s when the tag ends in `slow`, never when it ends in `bad`: as in the recordings.
pub(crate) fn image(name: &str, known: &[String], usual_delay: Duration) -> Image {
    let (repository, tag) = split(name);
    if ["bad", "missing", "does-not-exist"]
        .iter()
        .any(|end| tag.ends_with(end))
    {
        return Image::Unknown;
    }
    if repository.rsplit('/').next() == Some("serin") {
        return Image::Controller;
    }
    if !known.iter().any(|pattern| matches(pattern, repository)) {
        return Image::Unknown;
    }
    Image::App {
        start_delay: if tag.ends_with("slow") {
            Duration::from_millis(1500)
        } else {
            usual_delay
        },
    }
}

/// How a container of a pod that is to end ends: `fail` and `hang` in the image's name or tag, else well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobEnd {
    Exit(i32),
    Never,
}

pub(crate) fn job_end(name: &str) -> JobEnd {
    let (repository, tag) = split(name);
    let program = repository.rsplit('/').next().unwrap_or_default();
    match () {
        () if program == "hang" || tag.ends_with("hang") => JobEnd::Never,
        () if program == "fail" || tag.ends_with("fail") => JobEnd::Exit(1),
        () => JobEnd::Exit(0),
    }
}

/// Repository and tag; a digest counts as no tag, a registry's port is not one.
fn split(image: &str) -> (&str, &str) {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, "latest"),
    }
}

/// `*` at the end of a pattern stands for anything.
fn matches(pattern: &str, repository: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == repository, |start| repository.starts_with(start))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn behaviour(container: serde_json::Value) -> Result<Behaviour, String> {
        Behaviour::of(&serde_json::from_value(container).expect("a container"))
    }

    #[test]
    fn environment_and_arguments_say_the_same_things() {
        let by_env = behaviour(json!({"name": "a", "env": [
            {"name": "ERROR_RATE", "value": "0.02"}, {"name": "LATENCY_MS", "value": "800"}, {"name": "READY", "value": "false"},
        ]}));
        let by_args =
            behaviour(json!({"name": "a", "args": ["--error-rate=0.02", "--latency-ms", "800", "READY=false"]}));
        let wanted = Behaviour {
            error_rate: 0.02,
            latency: Duration::from_millis(800),
            ready: false,
            ..Behaviour::default()
        };
        assert_eq!(by_env, Ok(wanted.clone()));
        assert_eq!(by_args, Ok(wanted));
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_with_its_name() {
        let error =
            behaviour(json!({"name": "a", "env": [{"name": "ERROR_RATE", "value": "2%"}]})).expect_err("refused");
        assert_eq!(error, "ERROR_RATE=2%: a number from 0 to 1 is needed");
    }

    #[test]
    fn a_share_is_hit_exactly() {
        for (share, wanted) in [(0.0, 0), (0.05, 50), (0.5, 500), (1.0, 1000)] {
            assert_eq!((0..1000).filter(|n| hits(share, *n)).count(), wanted, "{share}");
        }
    }

    #[test]
    fn the_image_says_when_a_pod_becomes_ready() {
        let known = ["*".to_owned()];
        let usual = Duration::from_millis(150);
        let app = |millis| Image::App {
            start_delay: Duration::from_millis(millis),
        };
        for (name, wanted) in [
            ("demo:v1", app(150)),
            ("demo:v1-slow", app(1500)),
            ("registry/checkout:1.42.0", app(150)),
            ("registry:5000/checkout", app(150)),
            ("demo:bad", Image::Unknown),
            ("demo:does-not-exist", Image::Unknown),
            ("ghcr.io/x/serin:0.1", Image::Controller),
        ] {
            assert_eq!(image(name, &known, usual), wanted, "{name}");
        }
        assert_eq!(
            image("other:v1", &["registry/*".into(), "demo".into()], usual),
            Image::Unknown
        );
    }

    #[test]
    fn job_images_say_how_they_end() {
        assert_eq!(job_end("job:ok"), JobEnd::Exit(0));
        assert_eq!(job_end("job:fail"), JobEnd::Exit(1));
        assert_eq!(job_end("registry:5000/hang"), JobEnd::Never);
    }
}
