//! World, Plan, Write, Verdict, Evidence: the nouns that the pure crates share.
