//! Makes a sequence with different answers shorter, while they still differ.

use crate::case::Case;

/// Leaves out steps one by one as long as `differs` still says yes; at most `tries` times it is asked.
///
/// # Errors
/// What `differs` says.
pub fn shrink<E>(case: &Case, tries: usize, mut differs: impl FnMut(&Case) -> Result<bool, E>) -> Result<Case, E> {
    let mut best = case.clone();
    let mut asked = 0;
    // Whole halves first, then quarters, then single steps.
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 {
        let mut end = best.steps.len();
        while end > 0 && asked < tries {
            let start = end.saturating_sub(size);
            if best.steps.len() > end - start {
                let mut smaller = best.clone();
                smaller.steps.drain(start..end);
                asked += 1;
                if differs(&smaller)? {
                    best = smaller;
                }
            }
            end = start.min(best.steps.len());
        }
        size = if size == 1 { 0 } else { size / 2 };
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Step;

    #[test]
    fn only_the_steps_that_matter_are_left() {
        let case = Case {
            name: "x".into(),
            steps: (0..25).map(|number| Step::new("GET", number.to_string())).collect(),
        };
        let needed = |case: &Case| {
            let has = |path: &str| case.steps.iter().any(|step| step.path == path);
            Ok::<_, ()>(has("3") && has("17"))
        };
        let small = shrink(&case, 500, needed).expect("never fails");
        let paths: Vec<&str> = small.steps.iter().map(|step| step.path.as_str()).collect();
        assert_eq!(paths, ["3", "17"]);
    }
}
