//! Where numbers come from: one file a provider behind one trait.
