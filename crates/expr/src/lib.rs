//! The condition language of metrics.
