//! The resources people write and read: types, schema, defaults, validation, durations, int-or-percent.
