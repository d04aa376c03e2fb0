//! Measurements to phases of metrics and runs.
