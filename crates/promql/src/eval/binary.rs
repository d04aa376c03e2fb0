//! Arithmetic, comparisons and sets of scalars and vectors.

use super::{Element, Evaluator, Result, unique};
use crate::error::EvalError;
use crate::labels::{ByLabels, Labels, METRIC_NAME};
use crate::plan::{Binary, Group, Kind, Matching, Node, Operator};
use crate::query::Dialect;

/// Of comparisons: 1 or 0.
pub(super) fn scalars(operator: Operator, left: f64, right: f64) -> f64 {
    if operator.compares() {
        return f64::from(u8::from(holds(operator, left, right)));
    }
    match operator {
        Operator::Add => left + right,
        Operator::Sub => left - right,
        Operator::Mul => left * right,
        Operator::Div => left / right,
        Operator::Mod => left % right,
        Operator::Pow => left.powf(right),
        Operator::Atan2 => left.atan2(right),
        _ => f64::NAN,
    }
}

fn holds(operator: Operator, left: f64, right: f64) -> bool {
    match operator {
        Operator::Equal => left == right,
        Operator::NotEqual => left != right,
        Operator::Greater => left > right,
        Operator::Less => left < right,
        Operator::GreaterEqual => left >= right,
        Operator::LessEqual => left <= right,
        _ => false,
    }
}

/// Whether the result is something else than the metric was. Prometheus 2 overlooks `atan2`.
fn nameless(binary: &Binary, dialect: Dialect) -> bool {
    match binary.operator {
        Operator::Atan2 => dialect == Dialect::V3,
        operator => !operator.compares() || binary.returns_bool,
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, at: i64) -> Result<Vec<Element>> {
        let (left, right) = (self.side(&binary.left, at)?, self.side(&binary.right, at)?);
        let elements = combined(binary, left, right, self.options.dialect)?;
        self.charge(elements.len())?;
        unique(elements)
    }

    fn side(&mut self, node: &Node, at: i64) -> Result<Side> {
        if node.kind() == Kind::Scalar {
            return self.scalar(node, at).map(Side::Scalar);
        }
        self.vector(node, at).map(Side::Vector)
    }
}

enum Side {
    Scalar(f64),
    Vector(Vec<Element>),
}

fn combined(binary: &Binary, left: Side, right: Side, dialect: Dialect) -> Result<Vec<Element>> {
    match (left, right) {
        (Side::Scalar(left), Side::Scalar(right)) => Ok(vec![Element {
            labels: Labels::empty(),
            value: scalars(binary.operator, left, right),
        }]),
        (Side::Scalar(left), Side::Vector(right)) => Ok(with_scalar(binary, right, dialect, |value| (left, value))),
        (Side::Vector(left), Side::Scalar(right)) => Ok(with_scalar(binary, left, dialect, |value| (value, right))),
        (Side::Vector(left), Side::Vector(right)) => match binary.operator {
            Operator::And => Ok(kept(&binary.matching, left, &right, true)),
            Operator::Unless => Ok(kept(&binary.matching, left, &right, false)),
            Operator::Or => {
                let more = kept(&binary.matching, right, &left, false);
                Ok(left.into_iter().chain(more).collect())
            }
            _ => vectors(binary, left, right, dialect),
        },
    }
}

/// A comparison keeps or drops the vector's element, on whichever side it stands.
fn with_scalar(
    binary: &Binary,
    elements: Vec<Element>,
    dialect: Dialect,
    sides: impl Fn(f64) -> (f64, f64),
) -> Vec<Element> {
    let filters = binary.operator.compares() && !binary.returns_bool;
    let result = |element: Element| {
        let (left, right) = sides(element.value);
        if filters {
            return holds(binary.operator, left, right).then_some(element);
        }
        Some(Element {
            labels: if nameless(binary, dialect) {
                element.labels.without_name()
            } else {
                element.labels
            },
            value: scalars(binary.operator, left, right),
        })
    };
    elements.into_iter().filter_map(result).collect()
}

impl Matching {
    /// What two elements must have in common.
    fn signature(&self, labels: &Labels) -> Labels {
        if self.on {
            labels.filter(|name| self.names(name))
        } else {
            labels.filter(|name| name != METRIC_NAME && !self.names(name))
        }
    }

    fn names(&self, name: &str) -> bool {
        self.labels.iter().any(|label| label == name)
    }
}

/// Those on the left that have (or have not) a partner on the right.
fn kept(matching: &Matching, left: Vec<Element>, right: &[Element], with_partner: bool) -> Vec<Element> {
    let partners: ByLabels<()> = right.iter().map(|e| (matching.signature(&e.labels), ())).collect();
    left.into_iter()
        .filter(|e| partners.contains_key(&matching.signature(&e.labels)) == with_partner)
        .collect()
}

fn vectors(binary: &Binary, left: Vec<Element>, right: Vec<Element>, dialect: Dialect) -> Result<Vec<Element>> {
    let matching = &binary.matching;
    if left.is_empty() || right.is_empty() {
        return Ok(Vec::new());
    }
    // The side that must be unique is `one`; without groups that is the right one, and the left one may match once only.
    let swapped = matches!(matching.group, Group::Right(_));
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let mut partners: ByLabels<usize> = ByLabels::default();
    for (place, element) in one.iter().enumerate() {
        let signature = matching.signature(&element.labels);
        if let Some(before) = partners.insert(signature.clone(), place) {
            return Err(EvalError::ManyToMany {
                group: signature,
                side: if swapped { "left" } else { "right" },
                first: one[before].labels.clone(),
                second: element.labels.clone(),
            });
        }
    }
    let mut matched: ByLabels<ByLabels<()>> = ByLabels::default();
    let mut out = Vec::new();
    for element in many {
        let signature = matching.signature(&element.labels);
        let Some(partner) = partners.get(&signature).map(|place| &one[*place]) else {
            continue;
        };
        let (l, r) = if swapped {
            (partner.value, element.value)
        } else {
            (element.value, partner.value)
        };
        let filters = binary.operator.compares() && !binary.returns_bool;
        let keep = !filters || holds(binary.operator, l, r);
        // Prometheus 2 looks for pairs that occur twice only among those that the comparison keeps.
        if !keep && dialect == Dialect::V2 {
            continue;
        }
        let labels = result_labels(binary, &element.labels, &partner.labels, dialect);
        // One to one, an element has one partner; in groups, those of one partner must remain distinct.
        let before = matched.entry(signature).or_default();
        match matching.group {
            Group::None if !before.is_empty() => return Err(EvalError::ManyToOne),
            Group::Left(_) | Group::Right(_) if before.contains_key(&labels) => {
                return Err(EvalError::GroupingNotUnique);
            }
            _ => before.insert(labels.clone(), ()),
        };
        if keep {
            let value = if filters { l } else { scalars(binary.operator, l, r) };
            out.push(Element { labels, value });
        }
    }
    Ok(out)
}

fn result_labels(binary: &Binary, many: &Labels, one: &Labels, dialect: Dialect) -> Labels {
    let matching = &binary.matching;
    let labels = if nameless(binary, dialect) {
        many.without_name()
    } else {
        many.clone()
    };
    match &matching.group {
        Group::None if matching.on => labels.filter(|name| matching.names(name)),
        Group::None => labels.filter(|name| !matching.names(name)),
        Group::Left(include) | Group::Right(include) => {
            let labels = include
                .iter()
                .fold(labels, |labels, name| labels.with(name, one.get(name)));
            if binary.returns_bool {
                labels.without_name()
            } else {
                labels
            }
        }
    }
}
