//! What others have said, without the Secrets that they were asked with. Pure.
//!
//! Only what comes from outside goes through here: words of a provider, and parts of a query with its arguments in place. Our own
//! sentences and the names of objects never do: a Secret may hold a word as common as `default`, and they hold no Secret.

use serin_analysis::redact::redact;
use serin_promql::Selected;

/// Stands for a Secret's value.
pub(super) const HIDDEN: &str = "***";
/// Shorter values are hidden as whole words only: as parts of words they are nobody's secret.
const SHORT: usize = 8;

/// Values that nobody may read.
#[derive(Debug, Default)]
pub(super) struct Secrets<'a>(Vec<&'a str>);

impl<'a> Secrets<'a> {
    pub(super) fn new(values: impl Iterator<Item = &'a str>) -> Self {
        let mut values: Vec<&str> = values.filter(|value| !value.trim().is_empty()).collect();
        // One may be a part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values)
    }

    /// The text without them.
    pub(super) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| {
            redact(&text, value, HIDDEN, value.chars().count() < SHORT)
        })
    }

    /// The selector without them.
    pub(super) fn hide_in(&self, selected: &Selected) -> Selected {
        let mut selected = selected.clone();
        selected.metric = selected.metric.map(|metric| self.hide(&metric));
        for matcher in &mut selected.matchers {
            matcher.label = self.hide(&matcher.label);
            matcher.value = self.hide(&matcher.value);
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hide(values: &[&str], text: &str) -> String {
        Secrets::new(values.iter().copied()).hide(text)
    }

    #[test]
    fn long_values_are_hidden_everywhere_and_short_ones_as_whole_words() {
        assert_eq!(hide(&["hunter2hunter2"], "xhunter2hunter2x"), "x***x");
        assert_eq!(
            hide(&["api"], "api: apiserver, my-api, kapi_api"),
            "***: apiserver, my-***, kapi_api"
        );
        assert_eq!(hide(&["", " ", "a"], "a banana"), "*** banana");
    }

    #[test]
    fn of_a_value_that_holds_another_nothing_is_left() {
        assert_eq!(hide(&["password", "password-2024"], "with password-2024"), "with ***");
    }

    #[test]
    fn values_are_hidden_as_they_stand_within_quotes_too() {
        assert_eq!(hide(&["a\"b\\c"], r#"{x="a\"b\\c"}"#), r#"{x="***"}"#);
        assert_eq!(hide(&["a b/c"], "GET /?token=a%20b%2Fc&x=1"), "GET /?token=***&x=1");
    }
}
