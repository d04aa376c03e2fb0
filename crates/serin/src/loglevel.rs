//! `--loglevel`: what it may say.

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

/// A level, or a filter such as `serin_controller=debug,info`. To a filter any other word would be the name of a module, of which
/// everything is logged.
pub(crate) fn checked(text: &str) -> Result<String, String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let wrong = parts
        .map(|part| part.rsplit_once('=').map_or(part, |(_, level)| level))
        .find(|word| !is_level(word));
    if wrong.is_some() || text.trim().is_empty() || EnvFilter::try_new(text).is_err() {
        return Err(
            "it is one of debug, info, warn, error, trace and off, or a filter such as serin_controller=debug,info"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_taken_and_other_words_are_refused() {
        for good in ["info", "DEBUG", "off", "serin_controller=debug,info", "warn,kube=trace"] {
            assert_eq!(checked(good).as_deref(), Ok(good));
        }
        for bad in ["xx", "", "info,xx", "kube=loud", "verbose"] {
            let error = checked(bad).expect_err(bad);
            assert!(error.contains("debug, info, warn, error"), "{bad}: {error}");
        }
    }
}
