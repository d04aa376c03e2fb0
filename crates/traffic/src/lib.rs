//! Weights and routes in, edited route objects out.
