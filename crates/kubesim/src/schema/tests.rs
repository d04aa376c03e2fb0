//! Vectors for schemas.
