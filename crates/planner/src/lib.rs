//! World and time in, Plan out.
