//! The loop: stores, queue, apply, leader election, own metrics.
