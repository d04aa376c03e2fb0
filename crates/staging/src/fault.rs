//! What is assumed to be wrong with the new version: `errors=30%`, `latency=x3,share=10%`, `oom=5m,after=4m`.
//!
//! Pure text and numbers: knows no pods and no clock.

use std::{fmt, str::FromStr, time::Duration};

use serin_api::duration::GoDuration;
use thiserror::Error;

/// One thing that is wrong with the new version.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Of errors and latency: the share of requests that it strikes. Of the others: of pods. Between 0 and 1.
    pub share: f64,
    /// How long after the start of each pod it begins.
    pub after: Duration,
    /// It strikes only pods that get more requests than that per second; 0 for always. Errors and latency only.
    pub above: f64,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// This share of answers is a 500.
    Errors(f64),
    /// Answers take so much longer.
    SlowerBy(Duration),
    /// Answers take so many times as long.
    SlowerTimes(f64),
    /// The container ends a second after its start, again and again.
    CrashLoop,
    /// Pods get ready so much later.
    SlowStart(Duration),
    /// The container is killed so long after each of its starts.
    OutOfMemory(Duration),
}

impl FaultKind {
    /// Whether requests are struck; else pods are.
    pub fn strikes_requests(&self) -> bool {
        matches!(self, Self::Errors(_) | Self::SlowerBy(_) | Self::SlowerTimes(_))
    }
}

/// Why a text is no fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text}: {problem}; write errors=30%, latency=+900ms, latency=x3, crashloop, slowstart=90s, oom=5m or none, \
         each with ,share=10% and ,after=4m if wanted, errors and latency with ,above=25 (requests per second of a pod)"
)]
pub struct FaultError {
    text: String,
    problem: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        parse(text).map_err(|problem| FaultError {
            text: text.to_owned(),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<Fault, String> {
    let mut parts = text.split(',').map(str::trim);
    let kind = kind(parts.next().unwrap_or_default())?;
    let mut fault = Fault {
        kind,
        share: 1.0,
        after: Duration::ZERO,
        above: 0.0,
    };
    for part in parts {
        match part.split_once('=') {
            Some(("share", value)) => fault.share = percent(value)?,
            Some(("after", value)) => fault.after = duration(value)?,
            Some(("above", value)) => {
                let rate = value.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
                fault.above = rate.ok_or_else(|| format!("\"{value}\" is no number of requests per second"))?;
            }
            _ => return Err(format!("\"{part}\" is neither share=…, after=… nor above=…")),
        }
    }
    if fault.above > 0.0 && !fault.kind.strikes_requests() {
        return Err("above=… goes with errors and latency only".to_owned());
    }
    Ok(fault)
}

fn kind(text: &str) -> Result<FaultKind, String> {
    match text.split_once('=') {
        None if text == "crashloop" => Ok(FaultKind::CrashLoop),
        Some(("errors", value)) => percent(value).map(FaultKind::Errors),
        Some(("latency", value)) => latency(value),
        Some(("slowstart", value)) => duration(value).map(FaultKind::SlowStart),
        Some(("oom", value)) => match duration(value)? {
            Duration::ZERO => Err("oom=0s: a container that never runs is crashloop".to_owned()),
            after => Ok(FaultKind::OutOfMemory(after)),
        },
        _ => Err(format!("\"{text}\" is no fault that can be played")),
    }
}

fn latency(text: &str) -> Result<FaultKind, String> {
    if let Some(rest) = text.strip_prefix('+') {
        return duration(rest).map(FaultKind::SlowerBy);
    }
    let times = text.strip_prefix('x').and_then(|rest| rest.parse::<f64>().ok());
    match times.filter(|n| n.is_finite() && *n > 0.0) {
        Some(times) => Ok(FaultKind::SlowerTimes(times)),
        None => Err(format!(
            "latency={text} begins with neither + and a duration nor x and a number"
        )),
    }
}

/// `30%` or `0.3`, between nothing and all.
///
/// # Errors
/// Says what was written instead.
pub fn percent(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |n| (n, 100.0));
    let share = number.parse::<f64>().ok().map(|n| n / whole);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("\"{text}\" is no share between 0% and 100%; write 5% or 0.05"))
}

/// A duration as manifests have them: `90s`, `5m`, `900ms`.
///
/// # Errors
/// Says what was written instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<GoDuration>().ok().map(GoDuration::as_nanos);
    parsed
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("\"{text}\" is no duration such as 90s, 5m or 900ms"))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{}%", (share * 1e6).round() / 1e4);
        let of = match &self.kind {
            FaultKind::Errors(share) => {
                write!(f, "{} of answers are errors", percent(*share))?;
                "requests"
            }
            FaultKind::SlowerBy(by) => {
                write!(f, "answers take {by:?} longer")?;
                "requests"
            }
            FaultKind::SlowerTimes(times) => {
                write!(f, "answers take {times} times as long")?;
                "requests"
            }
            FaultKind::CrashLoop => {
                f.write_str("containers crash at their start")?;
                "pods"
            }
            FaultKind::SlowStart(by) => {
                write!(f, "pods get ready {by:?} later")?;
                "pods"
            }
            FaultKind::OutOfMemory(after) => {
                write!(f, "containers are killed {after:?} after each start")?;
                "pods"
            }
        };
        if self.share < 1.0 {
            write!(f, ", {} of {of}", percent(self.share))?;
        }
        if self.after > Duration::ZERO {
            write!(f, ", from {:?} after a pod's start on", self.after)?;
        }
        if self.above > 0.0 {
            write!(f, ", where a pod gets more than {} requests/s", self.above)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_read_as_it_is_documented() {
        let read = |text: &str| text.parse::<Fault>().map(|f| (f.kind, f.share, f.after));
        let (all, now) = (1.0, Duration::ZERO);
        let seconds = Duration::from_secs;
        for (text, expected) in [
            ("errors=30%", (FaultKind::Errors(0.3), all, now)),
            ("errors=0.05", (FaultKind::Errors(0.05), all, now)),
            (
                "latency=+900ms",
                (FaultKind::SlowerBy(Duration::from_millis(900)), all, now),
            ),
            ("latency=x3,share=10%", (FaultKind::SlowerTimes(3.0), 0.1, now)),
            ("crashloop", (FaultKind::CrashLoop, all, now)),
            ("slowstart=90s", (FaultKind::SlowStart(seconds(90)), all, now)),
            (
                "oom=5m,after=4m,share=50%",
                (FaultKind::OutOfMemory(seconds(300)), 0.5, seconds(240)),
            ),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_is_refused_with_what_to_write() {
        for (text, part) in [
            ("error=30%", "\"error=30%\" is no fault"),
            ("crashloop,above=5", "above=… goes with errors and latency"),
            ("errors=3%,above=much", "\"much\" is no number"),
            ("errors=130%", "\"130%\" is no share"),
            ("errors=-1%", "\"-1%\" is no share"),
            ("errors=NaN", "\"NaN\" is no share"),
            ("latency=900ms", "neither + and a duration nor x"),
            ("latency=x0", "neither + and a duration nor x"),
            ("slowstart=fast", "\"fast\" is no duration"),
            ("slowstart=-3s", "\"-3s\" is no duration"),
            ("oom=0s", "crashloop"),
            ("crashloop,often=1", "\"often=1\" is neither"),
            ("", "\"\" is no fault"),
        ] {
            let error = text.parse::<Fault>().expect_err(text).to_string();
            assert!(
                error.contains(part) && error.contains("latency=+900ms"),
                "{text}: {error}"
            );
        }
    }
}
