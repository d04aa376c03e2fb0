//! The built-in controllers in virtual time.
