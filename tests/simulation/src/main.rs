//! Plays seeds, replays one, makes a failing one smaller.

fn main() -> anyhow::Result<()> {
    let seed = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(0);
    let scenario = serin_simulation::generate::scenario(seed);
    let played = serin_simulation::run::play(&scenario)?;
    println!("{}", serin_simulation::trace::timeline(&played.history));
    Ok(())
}
