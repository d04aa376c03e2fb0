//! What a canary step is and how it is called in events and messages (compat 1.1.3).

use crate::{
    duration::GoDuration,
    intstr::IntOrString,
    rollout::{
        CanaryStep, PluginStep, RolloutAnalysis, RolloutExperimentStep, RolloutPause, SetCanaryScale, SetHeaderRoute,
        SetMirrorRoute,
    },
};

/// The one thing that a step does. Of several (which validation lets through in part) the first in this order counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepKind<'a> {
    /// Wait.
    Pause(&'a RolloutPause),
    /// Size of the canary.
    SetCanaryScale(&'a SetCanaryScale),
    /// Weight of the canary.
    SetWeight(i32),
    /// An experiment.
    Experiment(&'a RolloutExperimentStep),
    /// An analysis.
    Analysis(&'a RolloutAnalysis),
    /// A route by header.
    SetHeaderRoute(&'a SetHeaderRoute),
    /// A mirror.
    SetMirrorRoute(&'a SetMirrorRoute),
    /// A plugin.
    Plugin(&'a PluginStep),
    /// Nothing is set: validation refuses it.
    Empty,
}

impl CanaryStep {
    /// What decides when the step is done (compat 1.1.3, last line).
    pub fn kind(&self) -> StepKind<'_> {
        if let Some(pause) = &self.pause {
            StepKind::Pause(pause)
        } else if let Some(scale) = &self.set_canary_scale {
            StepKind::SetCanaryScale(scale)
        } else if let Some(weight) = self.set_weight {
            StepKind::SetWeight(weight)
        } else if let Some(experiment) = &self.experiment {
            StepKind::Experiment(experiment)
        } else if let Some(analysis) = &self.analysis {
            StepKind::Analysis(analysis)
        } else if let Some(route) = &self.set_header_route {
            StepKind::SetHeaderRoute(route)
        } else if let Some(route) = &self.set_mirror_route {
            StepKind::SetMirrorRoute(route)
        } else if let Some(plugin) = &self.plugin {
            StepKind::Plugin(plugin)
        } else {
            StepKind::Empty
        }
    }

    /// The step as events and clients write it: `setWeight: 20`, `pause: 1s`, …; `invalid` when nothing is set.
    pub fn describe(&self) -> String {
        if let Some(weight) = self.set_weight {
            return format!("setWeight: {weight}");
        }
        if let Some(pause) = &self.pause {
            return match &pause.duration {
                Some(duration) => format!("pause: {duration}"),
                None => "pause".to_owned(),
            };
        }
        if self.experiment.is_some() {
            return "experiment".to_owned();
        }
        if self.analysis.is_some() {
            return "analysis".to_owned();
        }
        if let Some(scale) = &self.set_canary_scale {
            if let Some(weight) = scale.weight {
                return format!("setCanaryScale{{weight: {weight}}}");
            }
            if let Some(replicas) = scale.replicas {
                return format!("setCanaryScale{{replicas: {replicas}}}");
            }
            if scale.match_traffic_weight {
                return "setCanaryScale{matchTrafficWeight: true}".to_owned();
            }
        }
        if let Some(plugin) = &self.plugin {
            return format!("plugin: {}", plugin.name);
        }
        if let Some(route) = &self.set_header_route {
            return format!("setHeaderRoute: {}", route.name.as_deref().unwrap_or_default());
        }
        if let Some(route) = &self.set_mirror_route {
            return format!("setMirrorRoute: {}", route.name);
        }
        "invalid".to_owned()
    }
}

impl RolloutPause {
    /// Seconds to wait; [`None`] is until somebody goes on (compat 1.1.3). A number and a string of digits are seconds, any
    /// other string is a Go duration, rounded to whole seconds.
    ///
    /// # Errors
    /// The text is no duration. A negative one is no error here; validation refuses both.
    pub fn seconds(&self) -> Result<Option<i64>, String> {
        match &self.duration {
            None => Ok(None),
            Some(IntOrString::Int(n)) => Ok(Some(*n)),
            Some(IntOrString::String(text)) => {
                if let Ok(seconds) = text.parse::<i32>() {
                    return Ok(Some(i64::from(seconds)));
                }
                match text.parse::<GoDuration>() {
                    Ok(duration) => Ok(Some(duration.rounded_seconds())),
                    Err(e) => Err(format!(
                        "pause.duration {text:?} is neither seconds nor a duration such as 1m30s: {e}"
                    )),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn step(value: Value) -> CanaryStep {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn steps_are_called_as_in_upstreams_events() {
        for (value, text) in [
            (json!({"setWeight": 20}), "setWeight: 20"),
            (json!({"pause": {}}), "pause"),
            (json!({"pause": {"duration": "1s"}}), "pause: 1s"),
            (json!({"pause": {"duration": 2}}), "pause: 2"),
            (json!({"pause": {"duration": "0.05m"}}), "pause: 0.05m"),
            (json!({"analysis": {}}), "analysis"),
            (json!({"experiment": {"templates": []}}), "experiment"),
            (json!({"setCanaryScale": {"weight": 25}}), "setCanaryScale{weight: 25}"),
            (
                json!({"setCanaryScale": {"replicas": 1}}),
                "setCanaryScale{replicas: 1}",
            ),
            (
                json!({"setCanaryScale": {"matchTrafficWeight": true}}),
                "setCanaryScale{matchTrafficWeight: true}",
            ),
            (json!({"plugin": {"name": "a/b"}}), "plugin: a/b"),
            (json!({"setHeaderRoute": {"name": "h1"}}), "setHeaderRoute: h1"),
            (json!({"setMirrorRoute": {"name": "m1"}}), "setMirrorRoute: m1"),
            (json!({}), "invalid"),
        ] {
            assert_eq!(step(value).describe(), text);
        }
    }

    #[test]
    fn of_several_fields_the_first_in_upstreams_order_counts() {
        let both = step(json!({"setWeight": 10, "setCanaryScale": {"replicas": 1}}));
        assert!(matches!(both.kind(), StepKind::SetCanaryScale(_)));
        assert!(matches!(step(json!({"setWeight": 10})).kind(), StepKind::SetWeight(10)));
        assert!(matches!(
            step(json!({"pause": {}, "setCanaryScale": {}})).kind(),
            StepKind::Pause(_)
        ));
        assert!(matches!(step(json!({})).kind(), StepKind::Empty));
    }

    #[test]
    fn a_pause_is_read_as_seconds_or_as_a_go_duration() {
        for (duration, seconds) in [
            (json!(10), Some(10)),
            (json!("10"), Some(10)),
            (json!("1h30m"), Some(5400)),
            (json!("0.05m"), Some(3)),
            (json!("1.5s"), Some(2)),
            (json!("100ms"), Some(0)),
            (json!(-3), Some(-3)),
        ] {
            let pause: RolloutPause = serde_json::from_value(json!({"duration": duration})).unwrap();
            assert_eq!(pause.seconds(), Ok(seconds), "{duration}");
        }
        assert_eq!(RolloutPause::default().seconds(), Ok(None));
        let wrong: RolloutPause = serde_json::from_value(json!({"duration": "soon"})).unwrap();
        assert_eq!(
            wrong.seconds().unwrap_err(),
            r#"pause.duration "soon" is neither seconds nor a duration such as 1m30s: time: invalid duration "soon""#
        );
    }
}
