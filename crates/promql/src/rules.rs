//! Recording rules: read from Prometheus' rule files or from PrometheusRule objects, evaluated into the store.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use serde::Deserialize;

use crate::error::{Error, EvalError};
use crate::labels::{ByLabels, Fnv, Labels, METRIC_NAME};
use crate::query::{Options, Query, Value};
use crate::store::{OutOfOrder, STALE, SeriesId, Store};

/// What Prometheus does when a group names no interval.
const DEFAULT_INTERVAL_MS: i64 = 60 * 1000;
/// Evaluations that one call may make up for: a week of a rule every 10 s.
const MOST_MISSED: usize = 60_480;

/// Why rules cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Not YAML, or not of the shape of rules.
    #[error("these are no Prometheus rules: {0}")]
    Shape(String),
    /// A rule's expression.
    #[error("group {group:?}, rule {rule:?}: its expr cannot be evaluated")]
    Expression {
        /// The group's name.
        group: String,
        /// What it records.
        rule: String,
        /// Why.
        #[source]
        source: Error,
    },
    /// A field of a group or a rule.
    #[error("group {group:?}: {field} is {value:?}; {remedy}")]
    Field {
        /// The group's name.
        group: String,
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        remedy: &'static str,
    },
}

/// A rule that is not evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its group.
    pub group: String,
    /// The alert's name.
    pub alert: String,
}

/// A rule whose evaluation failed, as Prometheus shows it on its page of rules. The others went on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("group {group:?}, rule {rule:?} at {at_ms} ms: {why}")]
pub struct RuleProblem {
    /// Its group.
    pub group: String,
    /// What it records.
    pub rule: String,
    /// When.
    pub at_ms: i64,
    /// Why.
    pub why: Failure,
}

/// Why a rule's evaluation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its expression.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// Its result is a range or a text.
    #[error("the expression gives neither a vector nor a number")]
    Kind,
    /// With the rule's labels, two elements are the same series.
    #[error("vector contains metrics with the same labelset after applying rule labels: {0}")]
    SameLabels(Labels),
    /// Its series have newer samples: two rules record the same, or the time went backwards.
    #[error(transparent)]
    Order(#[from] OutOfOrder),
}

#[derive(Clone, Debug)]
struct Rule {
    record: String,
    query: Query,
    labels: BTreeMap<String, String>,
    /// What it gave the last time.
    previous: Vec<SeriesId>,
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    interval_ms: i64,
    /// Evaluations are at this plus multiples of the interval.
    phase_ms: i64,
    query_offset_ms: i64,
    limit: usize,
    rules: Vec<Rule>,
    /// Instants up to here are done.
    done: Option<i64>,
}

/// Recording rules, and what each of them gave the last time.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    groups: Vec<Group>,
    left_out: Vec<LeftOut>,
    options: Options,
    /// Nothing is due up to here.
    begun: Option<i64>,
}

// === their YAML ===

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    groups: Option<Vec<GroupText>>,
    #[serde(default)]
    spec: Option<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    groups: Vec<GroupText>,
}

#[derive(Deserialize)]
struct GroupText {
    name: String,
    #[serde(default)]
    interval: Option<String>,
    #[serde(default)]
    query_offset: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
struct RuleText {
    #[serde(default)]
    record: String,
    #[serde(default)]
    alert: String,
    #[serde(default)]
    expr: Text,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// PrometheusRule lets an expression be a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Integer(i64),
    Number(f64),
    Written(String),
}

impl Default for Text {
    fn default() -> Self {
        Self::Written(String::new())
    }
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Written(text) => text,
        }
    }
}

impl Rules {
    /// Reads a rule file of Prometheus (`groups` at the top) or a PrometheusRule object (`spec.groups`). Alerting rules are
    /// left out, see [`Rules::left_out`].
    ///
    /// # Errors
    /// When it is neither, or when an expression is not PromQL or not evaluated here.
    pub fn parse(yaml: &str) -> Result<Self, RulesError> {
        let (rules, problems) = Self::parse_what_is_evaluated(yaml)?;
        match problems.into_iter().next() {
            None => Ok(rules),
            Some(problem) => Err(problem),
        }
    }

    /// The same, but rules whose expression is PromQL that is not evaluated here are left out and come as the second.
    ///
    /// # Errors
    /// When it is no file of rules, or when an expression is not PromQL.
    pub fn parse_what_is_evaluated(yaml: &str) -> Result<(Self, Vec<RulesError>), RulesError> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|e| RulesError::Shape(e.to_string()))?;
        let groups = match (file.groups, file.spec) {
            (Some(groups), _) => groups,
            (None, Some(spec)) => spec.groups,
            (None, None) => return Err(RulesError::Shape("neither `groups` nor `spec.groups` is there".into())),
        };
        let mut rules = Self::default();
        let mut problems = Vec::new();
        for group in groups {
            rules.add(group, &mut problems)?;
        }
        Ok((rules, problems))
    }

    fn add(&mut self, text: GroupText, problems: &mut Vec<RulesError>) -> Result<(), RulesError> {
        let interval_ms = match &text.interval {
            None => DEFAULT_INTERVAL_MS,
            Some(interval) => duration(&text.name, "interval", interval)?.max(1),
        };
        let query_offset_ms = match &text.query_offset {
            None => 0,
            Some(offset) => duration(&text.name, "query_offset", offset)?,
        };
        let mut hasher = Fnv::default();
        hasher.write(text.name.as_bytes());
        let mut group = Group {
            // Prometheus spreads its groups by a hash too; ours is the same in every process.
            phase_ms: (hasher.finish() % interval_ms.unsigned_abs()) as i64,
            interval_ms,
            query_offset_ms,
            limit: text.limit.unwrap_or(0),
            rules: Vec::new(),
            done: None,
            name: text.name,
        };
        for rule in text.rules {
            if rule.record.is_empty() {
                if rule.alert.is_empty() {
                    return Err(RulesError::Field {
                        group: group.name,
                        field: "record",
                        value: String::new(),
                        remedy: "every rule needs one of record and alert",
                    });
                }
                self.left_out.push(LeftOut {
                    group: group.name.clone(),
                    alert: rule.alert,
                });
                continue;
            }
            let query = match Query::parse(&rule.expr.into_string()) {
                Ok(query) => query,
                Err(source) => {
                    let is_known = matches!(source, Error::NotSimulated { .. });
                    let problem = RulesError::Expression {
                        group: group.name.clone(),
                        rule: rule.record,
                        source,
                    };
                    if !is_known {
                        return Err(problem);
                    }
                    problems.push(problem);
                    continue;
                }
            };
            let mut labels = text.labels.clone();
            labels.extend(rule.labels);
            group.rules.push(Rule {
                record: rule.record,
                query,
                labels,
                previous: Vec::new(),
            });
        }
        self.groups.push(group);
        Ok(())
    }

    /// Adds the rules of another file; its groups are evaluated after those that are here.
    pub fn extend(&mut self, other: Self) {
        self.groups.extend(other.groups);
        self.left_out.extend(other.left_out);
    }

    /// Sets what the evaluations keep to.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// The alerting rules, which are not evaluated.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The names that are recorded, each once, sorted.
    pub fn recorded(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .groups
            .iter()
            .flat_map(|g| &g.rules)
            .map(|r| r.record.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The names that this query reads in the end and that no rule records: its own, and those of the rules behind them.
    pub fn sources<'a>(&'a self, query: &'a Query) -> BTreeSet<&'a str> {
        let mut sources = BTreeSet::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut waiting: Vec<&str> = query.metrics().collect();
        while let Some(name) = waiting.pop() {
            if !seen.insert(name) {
                continue;
            }
            let rules = self.groups.iter().flat_map(|group| &group.rules);
            let of_rules: Vec<&Query> = rules
                .filter(|rule| rule.record == name)
                .map(|rule| &rule.query)
                .collect();
            if of_rules.is_empty() {
                sources.insert(name);
            }
            waiting.extend(of_rules.into_iter().flat_map(Query::metrics));
        }
        sources
    }

    /// When the next group is due, strictly after `at_ms`. None: there are no rules.
    pub fn next_after(&self, at_ms: i64) -> Option<i64> {
        self.groups.iter().map(|group| group.due_after(at_ms)).min()
    }

    /// Nothing is due before this instant. Without it the first evaluation is the beginning.
    pub fn begin(&mut self, at_ms: i64) {
        self.begun = Some(at_ms.saturating_sub(1));
    }

    /// Evaluates everything that became due since the last call, each group at the instants of its own schedule, up to
    /// `at_ms`. The first call evaluates what is due at `at_ms` itself. Groups that are due at the same instant are evaluated
    /// in their order; rules see what those before them have recorded.
    pub fn evaluate(&mut self, store: &mut Store, at_ms: i64) -> Vec<RuleProblem> {
        let all: Vec<usize> = (0..self.groups.len()).collect();
        self.catch_up(&all, store, at_ms)
    }

    /// As [`Rules::evaluate`], but only what can matter to this query: the groups that record what it asks for, those that
    /// record what these read, and so on. The others stay behind and catch up when something asks for them, with the same
    /// results, as long as the store has forgotten nothing.
    pub fn evaluate_for(&mut self, query: &Query, store: &mut Store, at_ms: i64) -> Vec<RuleProblem> {
        let wanted = self.wanted_by(query);
        self.catch_up(&wanted, store, at_ms)
    }

    /// Groups that record the same go together: the later samples of one would keep the other's out of the store.
    fn wanted_by(&self, query: &Query) -> Vec<usize> {
        let mut wanted: Vec<usize> = Vec::new();
        loop {
            let is_wanted = |record: &str| {
                let of_wanted = |number: &usize| {
                    let mut rules = self.groups[*number].rules.iter();
                    rules.any(|rule| rule.record == record || rule.query.asks_for(record))
                };
                query.asks_for(record) || wanted.iter().any(of_wanted)
            };
            let groups = self.groups.iter().enumerate();
            let more: Vec<usize> = groups
                .filter(|(_, group)| group.rules.iter().any(|rule| is_wanted(&rule.record)))
                .map(|(number, _)| number)
                .collect();
            if more.len() == wanted.len() {
                return wanted;
            }
            wanted = more;
        }
    }

    fn catch_up(&mut self, wanted: &[usize], store: &mut Store, at_ms: i64) -> Vec<RuleProblem> {
        let begun = *self.begun.get_or_insert(at_ms.saturating_sub(1));
        let due = |group: &Group| group.due_after(group.done.unwrap_or(begun));
        let mut problems = Vec::new();
        for _ in 0..MOST_MISSED {
            let next = wanted.iter().map(|number| due(&self.groups[*number])).min();
            let Some(next) = next.filter(|next| *next <= at_ms) else {
                break;
            };
            for number in wanted {
                let group = &mut self.groups[*number];
                if due(group) == next {
                    group.evaluate(store, next, &self.options, &mut problems);
                    group.done = Some(next);
                }
            }
        }
        for number in wanted {
            let group = &mut self.groups[*number];
            group.done = Some(at_ms);
        }
        problems
    }
}

impl Group {
    fn due_after(&self, at_ms: i64) -> i64 {
        let since = at_ms.saturating_sub(self.phase_ms).div_euclid(self.interval_ms);
        since
            .saturating_add(1)
            .saturating_mul(self.interval_ms)
            .saturating_add(self.phase_ms)
    }

    fn evaluate(&mut self, store: &mut Store, at_ms: i64, options: &Options, problems: &mut Vec<RuleProblem>) {
        for rule in &mut self.rules {
            let at_ms = at_ms.saturating_sub(self.query_offset_ms);
            if let Err(why) = rule.evaluate(store, at_ms, options, self.limit) {
                problems.push(RuleProblem {
                    group: self.name.clone(),
                    rule: rule.record.clone(),
                    at_ms,
                    why,
                });
            }
        }
    }
}

impl Rule {
    /// What fails leaves no markers: the series of the last success stand until the look-back is over.
    fn evaluate(&mut self, store: &mut Store, at_ms: i64, options: &Options, limit: usize) -> Result<(), Failure> {
        let elements = match self.query.instant_with(store, at_ms, options)? {
            Value::Vector(elements) => elements,
            Value::Scalar(value) => vec![(Labels::empty(), value)],
            Value::Matrix(_) | Value::String(_) => return Err(Failure::Kind),
        };
        let mut results: Vec<(Labels, f64)> = Vec::with_capacity(elements.len());
        let mut seen: ByLabels<()> = ByLabels::default();
        for (labels, value) in elements {
            let named = labels.with(METRIC_NAME, &self.record);
            let labels = self
                .labels
                .iter()
                .fold(named, |labels, (name, value)| labels.with(name, value));
            if seen.insert(labels.clone(), ()).is_some() {
                return Err(Failure::SameLabels(labels));
            }
            results.push((labels, value));
        }
        if limit > 0 && results.len() > limit {
            return Err(Failure::Evaluation(EvalError::TooManySamples { limit: limit as u64 }));
        }
        let mut result = Ok(());
        let mut current = Vec::with_capacity(results.len());
        for (labels, value) in results {
            let series = store.series(&labels);
            result = result.and(store.append(series, at_ms, value));
            current.push(series);
        }
        current.sort_unstable();
        for gone in self
            .previous
            .iter()
            .filter(|series| current.binary_search(series).is_err())
        {
            result = result.and(store.append(*gone, at_ms, STALE));
        }
        self.previous = current;
        Ok(result?)
    }
}

/// Prometheus' durations, by way of the one place that knows them.
fn duration(group: &str, field: &'static str, text: &str) -> Result<i64, RulesError> {
    crate::token::duration(text).flatten().ok_or_else(|| RulesError::Field {
        group: group.to_owned(),
        field,
        value: text.to_owned(),
        remedy: "write a duration such as 15s or 1m30s",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
groups:
- name: a
  interval: 10s
  labels: {team: x}
  rules:
  - record: job:requests:sum
    expr: sum by (job) (requests)
    labels: {kind: sum}
  - record: job:requests:double
    expr: 2 * job:requests:sum
  - alert: TooMany
    expr: requests > 5
";

    fn values(store: &Store, query: &str, at_ms: i64) -> Vec<(String, f64)> {
        match Query::parse(query).expect(query).instant(store, at_ms).expect(query) {
            Value::Vector(elements) => elements.into_iter().map(|(l, v)| (l.to_string(), v)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_record_at_their_instants_and_see_what_came_before() {
        let mut rules = Rules::parse(FILE).expect("rules");
        assert_eq!(
            rules.left_out(),
            [LeftOut {
                group: "a".into(),
                alert: "TooMany".into()
            }]
        );
        assert_eq!(rules.recorded(), ["job:requests:double", "job:requests:sum"]);
        let mut store = Store::new();
        for (pod, value) in [("a", 1.0), ("b", 2.0)] {
            let labels = Labels::metric("requests", [("job", "web"), ("pod", pod)]);
            store.add(&labels, 0, value).expect("in order");
        }
        let due = rules.next_after(0).expect("a group");
        assert_eq!(rules.evaluate(&mut store, due - 1), []);
        assert_eq!(values(&store, "job:requests:sum", due), []);
        assert_eq!(rules.evaluate(&mut store, due + 20_000), []);
        assert_eq!(
            values(&store, "job:requests:double", due),
            [(
                r#"job:requests:double{job="web", kind="sum", team="x"}"#.to_owned(),
                6.0
            )]
        );
        assert_eq!(
            values(&store, "count_over_time(job:requests:sum[1m])", due + 20_000)[0].1,
            3.0
        );
        assert_eq!(rules.next_after(due), Some(due + 10_000));
    }

    const CHAIN: &str = "
groups:
- {name: raw, interval: 7s, rules: [{record: sum:m, expr: sum(m)}]}
- {name: next, interval: 5s, rules: [{record: 'max:sum:m', expr: 'max_over_time(sum:m[30s])'}]}
- {name: other, interval: 1s, rules: [{record: other, expr: m}, {record: shared, expr: m}]}
- {name: twin, interval: 3s, rules: [{record: shared, expr: m, labels: {by: twin}}]}
";

    fn growing(store: &mut Store, at_ms: i64) {
        let labels = Labels::metric("m", []);
        store.add(&labels, at_ms, at_ms as f64).expect("in order");
    }

    #[test]
    fn what_is_asked_for_late_is_what_it_would_have_been_all_along() {
        let queries = [
            "count_over_time(max:sum:m[2m])",
            "sum by (by) (shared)",
            r#"{__name__=~".+"}"#,
        ];
        for text in queries {
            let query = Query::parse(text).expect(text);
            let mut rules = Rules::parse(CHAIN).expect("rules");
            rules.begin(0);
            let (mut early, mut late) = (rules.clone(), rules);
            let (mut eager, mut lazy) = (Store::new(), Store::new());
            for at in (0..100_000).step_by(2000) {
                growing(&mut eager, at);
                growing(&mut lazy, at);
                assert_eq!(early.evaluate(&mut eager, at), []);
                // Somebody asks for one of them now and then; that must not change what others find.
                if at % 30_000 == 0 {
                    let one = Query::parse("sum:m").expect("a query");
                    assert_eq!(late.evaluate_for(&one, &mut lazy, at), []);
                }
            }
            let at = 98_000;
            assert_eq!(late.evaluate_for(&query, &mut lazy, at), []);
            let found = |store| query.instant(store, at).expect(text);
            assert_eq!(found(&lazy), found(&eager), "{text}");
        }
    }

    #[test]
    fn what_nobody_asks_for_is_not_evaluated() {
        for (text, recorded) in [
            ("m", &[][..]),
            ("sum:m", &["sum:m"]),
            ("max:sum:m", &["max:sum:m", "sum:m"]),
            ("shared", &["other", "shared", "shared"]),
        ] {
            let mut rules = Rules::parse(CHAIN).expect("rules");
            rules.begin(0);
            let mut store = Store::new();
            growing(&mut store, 0);
            let query = Query::parse(text).expect(text);
            assert_eq!(rules.evaluate_for(&query, &mut store, 60_000), []);
            let mut names: Vec<&str> = store.iter().map(|(labels, _)| labels.name()).collect();
            names.retain(|name| *name != "m");
            names.sort_unstable();
            assert_eq!(names, recorded, "{text}");
        }
    }

    #[test]
    fn what_a_query_reads_in_the_end_is_told_through_rules() {
        let rules = Rules::parse(CHAIN).expect("rules");
        let query = Query::parse("max:sum:m / other + unknown{a=\"b\"} + on() {job=\"x\"}").expect("a query");
        assert_eq!(rules.sources(&query).into_iter().collect::<Vec<_>>(), ["m", "unknown"]);
    }

    #[test]
    fn rules_that_are_not_evaluated_can_be_left_out() {
        let yaml = "groups: [{name: g, rules: [{record: a, expr: 'mad_over_time(x[5m])'}, {record: b, expr: 'x'}]}]";
        let (rules, problems) = Rules::parse_what_is_evaluated(yaml).expect("rules");
        assert_eq!(rules.recorded(), ["b"]);
        assert!(
            matches!(&problems[..], [RulesError::Expression { rule, .. }] if rule == "a"),
            "{problems:?}"
        );
        assert!(Rules::parse(yaml).is_err());
        let broken = "groups: [{name: g, rules: [{record: a, expr: 'x['}]}]";
        assert!(Rules::parse_what_is_evaluated(broken).is_err());
    }

    #[test]
    fn series_that_a_rule_no_longer_gives_end_at_once() {
        let mut rules =
            Rules::parse("groups: [{name: g, interval: 1s, rules: [{record: r, expr: 'm > 1'}]}]").expect("rules");
        let mut store = Store::new();
        store.add(&Labels::metric("m", []), 0, 2.0).expect("in order");
        store.add(&Labels::metric("m", []), 5000, 1.0).expect("in order");
        let due = rules.next_after(3000).expect("a group");
        rules.evaluate(&mut store, due);
        assert_eq!(values(&store, "r", due), [("r".to_owned(), 2.0)]);
        rules.evaluate(&mut store, due + 3000);
        assert_eq!(values(&store, "r", due + 3000), []);
    }

    #[test]
    fn a_prometheus_rule_object_is_read_as_well() {
        let object = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: x}\nspec:\n  groups:\n  \
                      - name: g\n    rules:\n    - {record: one, expr: 1}\n";
        let mut rules = Rules::parse(object).expect("rules");
        let mut store = Store::new();
        let due = rules.next_after(0).expect("a group");
        assert_eq!(rules.evaluate(&mut store, due), []);
        assert_eq!(values(&store, "one", due), [("one".to_owned(), 1.0)]);
    }

    #[test]
    fn what_is_wrong_with_rules_is_named() {
        for (yaml, error) in [
            (
                "a: 1",
                "these are no Prometheus rules: neither `groups` nor `spec.groups` is there",
            ),
            (
                "groups: [{name: g, interval: soon}]",
                "group \"g\": interval is \"soon\"; write a duration such as 15s or 1m30s",
            ),
            (
                "groups: [{name: g, rules: [{expr: 'a'}]}]",
                "group \"g\": record is \"\"; every rule needs one of record and alert",
            ),
        ] {
            assert_eq!(Rules::parse(yaml).expect_err(yaml).to_string(), error);
        }
        let error = Rules::parse("groups: [{name: g, rules: [{record: r, expr: 'mad_over_time(a[5m])'}]}]")
            .expect_err("experimental");
        let RulesError::Expression { source, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(source.to_string(), "not simulated: 1:1: mad_over_time()");
    }

    #[test]
    fn a_rule_that_fails_leaves_the_others_alone() {
        let yaml = "groups: [{name: g, rules: [{record: r, expr: 'a + on(x) b'}, {record: s, expr: '1'}]}]";
        let mut rules = Rules::parse(yaml).expect("rules");
        let mut store = Store::new();
        let due = rules.next_after(0).expect("a group");
        for (name, y) in [("a", "1"), ("b", "1"), ("b", "2")] {
            let labels = Labels::metric(name, [("x", "1"), ("y", y)]);
            store.add(&labels, due, 1.0).expect("in order");
        }
        let problems = rules.evaluate(&mut store, due);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("many-to-many"), "{}", problems[0]);
        assert_eq!(values(&store, "s", due).len(), 1);
    }
}
