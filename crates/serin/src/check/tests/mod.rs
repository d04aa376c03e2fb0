//! A cluster in the process with Serin as it is shipped and an example as it is shipped, checked whole; then broken.

mod broken;
mod parts;
mod stage;
