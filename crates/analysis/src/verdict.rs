//! One answer judged by a metric's conditions (compat 3.5).

use chrono::{DateTime, Utc};
use serin_api::analysis::{Metric, Phase};
use serin_expr::Value;
use serin_model::measure::MetricValue;

/// What upstream says of a condition that cannot be evaluated because there is nothing to evaluate it on.
const NO_RESULT: &str = "metric result is nil or empty: no data returned from the metric provider";

/// The phase that the conditions give the value.
///
/// Without a condition Successful. With one of them, that one decides. With both, a true failure condition is Failed even
/// when the success condition is true as well, and neither is Inconclusive. Both are always evaluated.
///
/// # Errors
/// A condition that cannot be evaluated; the text is what users see in the measurement.
pub(crate) fn judge(metric: &Metric, value: &MetricValue, now: DateTime<Utc>) -> Result<Phase, String> {
    let result = match value {
        MetricValue::Scalar(n) => Value::from(*n),
        MetricValue::Vector(numbers) => Value::floats(numbers.iter().copied()),
        MetricValue::Json(json) => Value::from_json(json)?,
        MetricValue::None => Value::Nil,
    };
    let evaluate = |name: &str, condition: &Option<String>| -> Result<Option<bool>, String> {
        let Some(condition) = condition.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        serin_expr::evaluate_condition(condition, &result, now)
            .map(Some)
            .map_err(|e| {
                let why = if value.is_nil_or_empty() { NO_RESULT } else { e.as_str() };
                format!("could not evaluate {name} \"{condition}\": {why}")
            })
    };
    let success = evaluate("successCondition", &metric.success_condition)?;
    let failure = evaluate("failureCondition", &metric.failure_condition)?;
    Ok(match (success, failure) {
        (_, Some(true)) | (Some(false), None) => Phase::Failed,
        (Some(false), Some(false)) => Phase::Inconclusive,
        (Some(true), _) | (None, None | Some(false)) => Phase::Successful,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(success: Option<&str>, failure: Option<&str>, value: &MetricValue) -> Result<Phase, String> {
        let metric = Metric {
            success_condition: success.map(str::to_owned),
            failure_condition: failure.map(str::to_owned),
            ..Metric::default()
        };
        judge(&metric, value, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn conditions_decide_as_in_the_truth_table() {
        let five = MetricValue::Scalar(5.0);
        for (success, failure, expected) in [
            (None, None, Phase::Successful),
            (Some(""), Some(""), Phase::Successful),
            (Some("result == 5"), None, Phase::Successful),
            (Some("result == 6"), None, Phase::Failed),
            (None, Some("result == 5"), Phase::Failed),
            (None, Some("result == 6"), Phase::Successful),
            (Some("result < 9"), Some("result > 1"), Phase::Failed),
            (Some("result < 9"), Some("result > 8"), Phase::Successful),
            (Some("result < 2"), Some("result > 8"), Phase::Inconclusive),
            (Some("result < 2"), Some("result > 1"), Phase::Failed),
        ] {
            assert_eq!(phase(success, failure, &five), Ok(expected), "{success:?} {failure:?}");
        }
    }

    #[test]
    fn nan_is_neither_below_nor_above() {
        let nan = MetricValue::Vector(vec![f64::NAN]);
        assert_eq!(phase(Some("result[0] < 1"), None, &nan), Ok(Phase::Failed));
        assert_eq!(phase(None, Some("result[0] >= 1"), &nan), Ok(Phase::Successful));
        assert_eq!(
            phase(Some("result[0] < 1"), Some("result[0] >= 1"), &nan),
            Ok(Phase::Inconclusive)
        );
    }

    #[test]
    fn a_condition_that_cannot_be_evaluated_is_an_error_even_where_the_other_one_is_clear() {
        let one = MetricValue::Scalar(1.0);
        assert_eq!(
            phase(Some("true"), Some("result +"), &one).unwrap_err(),
            "could not evaluate failureCondition \"result +\": unexpected token EOF"
        );
        assert_eq!(
            phase(Some("result + 1"), None, &one).unwrap_err(),
            "could not evaluate successCondition \"result + 1\": expected bool, but got float64"
        );
    }

    #[test]
    fn nothing_is_said_to_be_nothing_and_null_is_no_panic() {
        let text = "could not evaluate successCondition \"result[0] < 1\": metric result is nil or empty: no data returned from the metric provider";
        for value in [
            MetricValue::Vector(vec![]),
            MetricValue::None,
            MetricValue::Json(serde_json::Value::Null),
            MetricValue::Json(serde_json::json!([])),
        ] {
            assert_eq!(
                phase(Some("result[0] < 1"), None, &value).unwrap_err(),
                text,
                "{value:?}"
            );
        }
        let null = MetricValue::Json(serde_json::Value::Null);
        assert_eq!(phase(Some("result == nil"), None, &null), Ok(Phase::Successful));
        assert_eq!(
            phase(Some("len(result) == 0"), None, &MetricValue::Vector(vec![])),
            Ok(Phase::Successful)
        );
    }
}
