//! What one expression may use, so that a condition written by a tenant can neither abort the process nor stall it.
//! Knows numbers only. The limits of nodes and of memory are upstream's; nesting, work and bytes are limits of our own.

use crate::error::Failure;

/// Upstream refuses an expression of more syntax nodes than this at compile time.
pub const MAX_NODES: usize = 10_000;

/// How deep brackets, unary operators, branches and `let` may nest in a source. Chains of operators (`a || b || ...`),
/// of fields and of pipes do not nest. Upstream has no limit of its own here; ours keeps the parser within a small stack.
pub const MAX_NESTING: usize = 64;

/// How deep arrays and maps may nest in a value (serde_json refuses documents deeper than 128).
pub const MAX_VALUE_DEPTH: u32 = 140;

/// How deep a document may nest that a condition itself reads with `fromJSON`.
pub const MAX_JSON_DEPTH: usize = 64;

/// Compiled instructions of one expression: comparison chains such as `a < b < c` compile their middle twice.
pub const MAX_INSTRUCTIONS: usize = 200_000;

/// Upstream's budget of array and map elements created during one evaluation.
pub const MEMORY_BUDGET: u64 = 1_000_000;

/// Bytes of strings and of elements that upstream does not count.
pub const BYTE_BUDGET: u64 = 64 << 20;

/// Steps of one evaluation: instructions, and elements that a built-in looks at.
pub const WORK_BUDGET: u64 = 10_000_000;

const EXCEEDED: &str = "memory budget exceeded";

/// What is left for one evaluation.
#[derive(Debug)]
pub(crate) struct Budget {
    elements: u64,
    bytes: u64,
    work: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            elements: 0,
            bytes: 0,
            work: 0,
        }
    }

    /// Counts elements as upstream does: reaching the budget is already too much.
    pub(crate) fn elements(&mut self, n: u64) -> Result<(), Failure> {
        self.elements = self.elements.saturating_add(n);
        if self.elements >= MEMORY_BUDGET {
            Err(Failure::new(EXCEEDED))
        } else {
            Ok(())
        }
    }

    /// Counts bytes that are about to be allocated.
    pub(crate) fn bytes(&mut self, n: u64) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(n);
        if self.bytes > BYTE_BUDGET {
            Err(Failure::new(EXCEEDED))
        } else {
            Ok(())
        }
    }

    /// Counts steps of work.
    pub(crate) fn work(&mut self, n: u64) -> Result<(), Failure> {
        self.work = self.work.saturating_add(n);
        if self.work > WORK_BUDGET {
            return Err(Failure::new(
                "work budget exceeded: the expression needs more than 10000000 steps; loop over fewer elements",
            ));
        }
        Ok(())
    }
}
