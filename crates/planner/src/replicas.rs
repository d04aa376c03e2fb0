//! How many pods each version should have (compat 2.5). Arithmetic only: counts in, counts out.

/// What the arithmetic needs to know of a ReplicaSet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// `spec.replicas`.
    pub(crate) spec: i32,
    /// `status.availableReplicas`.
    pub(crate) available: i32,
}

impl Size {
    /// Pods that count when asking whether something may be drained. A ReplicaSet that is already shrinking counts with
    /// what it will keep. `drained` is the one that is to shrink: pods that never became available must not keep it alive.
    fn kept(self, drained: bool) -> i32 {
        if drained || self.spec < self.available {
            self.spec
        } else {
            self.available
        }
    }
}

/// Input of [`without_router`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Basic {
    /// `spec.replicas`.
    pub(crate) replicas: i32,
    /// Desired weight of the canary.
    pub(crate) weight: i32,
    /// What weights add up to.
    pub(crate) max_weight: i32,
    /// Pods above `replicas`.
    pub(crate) surge: i32,
    /// Pods that may be missing.
    pub(crate) unavailable: i32,
    /// The newest revision, once it exists.
    pub(crate) new: Option<Size>,
    /// The stable revision, when it is another one.
    pub(crate) stable: Option<Size>,
    /// Pods asked for by all further revisions together.
    pub(crate) others: i32,
}

/// The next (canary, stable) counts on the way to the weight, bounded by surge and unavailability.
///
/// Worked example: 5 replicas, weight 60, canary 1, stable 4, unavailable 1, surge 2. Wanted is 3/2; seven pods are
/// allowed and five exist, so the canary may grow by two at once: 3. Four must stay available and five are, so one stable
/// pod may go: 3. The pass ends at 3/3, the next one reaches 3/2.
pub(crate) fn without_router(i: Basic) -> (i32, i32) {
    let (mut want_new, mut want_stable) = approximate(i.replicas, i.weight, i.max_weight, i.surge);
    if i.stable.is_none() {
        (want_new, want_stable) = (i.replicas, 0);
    }
    let new = i.new.unwrap_or_default();
    let stable = i.stable.unwrap_or_default();
    // Sums saturate: a person may ask for as many pods as the API can count.
    let most = i.replicas.saturating_add(i.surge);
    let mut room = most - new.spec.saturating_add(stable.spec).saturating_add(i.others);

    let mut grow = |size: Size, exists: bool, want: i32| {
        if exists && size.spec < want && room > 0 {
            let by = room.min(want - size.spec);
            room -= by;
            size.spec + by
        } else {
            size.spec
        }
    };
    let next_stable = grow(stable, i.stable.is_some(), want_stable);
    let next_new = grow(new, i.new.is_some(), want_new);

    if i.others > 0 {
        return (next_new, next_stable);
    }
    let least = i.replicas - i.unavailable;
    let rising = i.new.is_none() || want_new >= new.spec;
    let kept = new.kept(!rising).saturating_add(stable.kept(rising));
    let surplus = kept - least;
    if surplus <= 0 {
        return (next_new, next_stable);
    }
    if rising {
        if i.stable.is_none() {
            return (next_new, next_stable);
        }
        let drained = drain(stable, want_stable, surplus, next_stable);
        let (s, n) = within_limits((Some(stable), drained), (i.new, next_new), most, least);
        (n, s)
    } else {
        let drained = drain(new, want_new, surplus, next_new);
        within_limits((i.new, drained), (i.stable, next_stable), most, least)
    }
}

fn drain(size: Size, want: i32, surplus: i32, otherwise: i32) -> i32 {
    if size.spec > want {
        want.max(size.spec - surplus)
    } else {
        otherwise
    }
}

/// Cuts the sum to what surge allows without giving up pods that availability needs: first the side that stays gives,
/// takes back what it must, and the drained side gives the rest.
fn within_limits(drained: (Option<Size>, i32), kept: (Option<Size>, i32), most: i32, least: i32) -> (i32, i32) {
    let (drained_size, drained_count) = drained;
    let (Some(kept_size), kept_count) = kept else {
        return (drained_count, kept.1);
    };
    let cut = kept_count - (kept_count.saturating_add(drained_count) - most).max(0);
    let available = drained_size.map_or(0, |d| d.available.min(drained_count)) + kept_size.available.min(cut);
    let lost = (kept_size.available - cut).max(0);
    let kept_count = cut + lost.min((least - available).max(0));
    let over = (kept_count.saturating_add(drained_count) - most).max(0);
    (drained_count - over, kept_count)
}

/// The pair (canary, stable) whose share is closest to the weight, out of `replicas` pods or one more if surge allows.
/// Of equally close ones the first counts; a version with a weight strictly between the ends keeps at least one pod.
pub(crate) fn approximate(replicas: i32, weight: i32, max_weight: i32, surge: i32) -> (i32, i32) {
    if replicas == 0 {
        return (0, 0);
    }
    let (r, w, m) = (i64::from(replicas), i64::from(weight), i64::from(max_weight.max(1)));
    let floor = r * w / m;
    let ceil = (r * w + m - 1) / m;
    let zero_allowed = w == 0 || w == m || (r == 1 && surge == 0);
    let mut options = Vec::with_capacity(4);
    if ceil < r || zero_allowed {
        options.push((ceil, r));
    }
    // In a tie between all pods and all but one, without surge, this is what is left. Upstream takes no canary pod at all then
    // and passes the step.
    if floor != 0 || zero_allowed {
        options.push((floor, r));
    }
    if surge > 0 {
        // The smaller count out of one more is further off than out of `r`.
        options.push((ceil, r + 1));
    }
    // |canary·M/total − W| compared without fractions: cross-multiplied by the totals.
    let distance = |(canary, total): (i64, i64)| ((canary * m - w * total).abs(), total);
    let closer = |a: (i64, i64), b: (i64, i64)| {
        let ((da, ta), (db, tb)) = (distance(a), distance(b));
        da * tb < db * ta
    };
    let Some(best) = options
        .into_iter()
        .reduce(|best, next| if closer(next, best) { next } else { best })
    else {
        return (0, replicas);
    };
    let small = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    (small(best.0), small(best.1 - best.0))
}

/// Pods for a share of the traffic, rounded up.
pub(crate) fn share_of(replicas: i32, weight: i32, max_weight: i32) -> i32 {
    let (r, w, m) = (i64::from(replicas), i64::from(weight), i64::from(max_weight.max(1)));
    i32::try_from((r * w + m - 1).max(0) / m).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(r: i32, w: i32, new: (i32, i32), stable: (i32, i32), unavailable: i32, surge: i32) -> (i32, i32) {
        let size = |(spec, available)| Some(Size { spec, available });
        without_router(Basic {
            replicas: r,
            weight: w,
            max_weight: 100,
            surge,
            unavailable,
            new: size(new),
            stable: size(stable),
            others: 0,
        })
    }

    #[test]
    fn counts_are_those_of_the_compatibility_map() {
        let rows = [
            ((10, 10, 0, 10, 1, 1), (1, 9)),
            ((10, 30, 0, 10, 0, 3), (3, 10)),
            ((10, 30, 0, 10, 5, 0), (0, 7)),
            ((10, 5, 0, 10, 1, 0), (0, 9)),
            ((10, 5, 0, 10, 1, 1), (1, 10)),
            ((1, 5, 0, 1, 0, 1), (1, 1)),
            ((1, 95, 0, 1, 0, 1), (1, 1)),
            ((5, 20, 0, 5, 1, 2), (1, 4)),
            ((5, 60, 1, 4, 1, 2), (3, 3)),
        ];
        for ((r, w, new, stable, unavailable, surge), want) in rows {
            let got = case(r, w, (new, new), (stable, stable), unavailable, surge);
            assert_eq!(
                got, want,
                "R {r} W {w} {new}/{stable} unavailable {unavailable} surge {surge}"
            );
        }
    }

    #[test]
    fn without_a_stable_version_all_pods_are_new_ones() {
        let basic = Basic {
            replicas: 4,
            weight: 100,
            max_weight: 100,
            surge: 1,
            unavailable: 1,
            new: Some(Size::default()),
            stable: None,
            others: 0,
        };
        assert_eq!(without_router(basic), (4, 0));
    }

    #[test]
    fn an_unavailable_canary_does_not_keep_stable_from_coming_back() {
        // Weight back to 0, the two canary pods never became available: they go although only 2 of 4 are available.
        assert_eq!(case(4, 0, (2, 0), (2, 2), 1, 1), (1, 3));
    }

    #[test]
    fn of_too_many_pods_those_go_that_are_not_available() {
        // Wanted is 3/2, six pods are allowed and five must stay available. Of six canary pods one is: stable keeps all of its
        // four, and the canary gives what is above the limit, also below its share.
        assert_eq!(case(5, 60, (6, 1), (4, 4), 0, 1), (2, 4));
        assert_eq!(case(5, 60, (6, 6), (4, 4), 0, 1), (3, 3));
    }

    #[test]
    fn a_weight_between_all_pods_and_all_but_one_leaves_one_stable_pod() {
        assert_eq!(
            [(10, 95), (2, 75)].map(|(r, w)| approximate(r, w, 100, 0)),
            [(9, 1), (1, 1)]
        );
        assert_eq!(approximate(10, 94, 100, 0), (9, 1));
    }

    #[test]
    fn shares_round_up() {
        assert_eq!(
            [(4, 20), (4, 60), (4, 0), (1, 1), (10, 100)].map(|(r, w)| share_of(r, w, 100)),
            [1, 3, 0, 1, 10]
        );
    }
}
