//! Randomness: one seed, split into named streams, so that making one part smaller does not shift the others.

/// A stream of numbers (SplitMix64): small, fast, and good enough to choose scenarios.
#[derive(Clone, Debug)]
pub struct Stream(u64);

impl Stream {
    /// The stream of this name under a seed. Equal names give equal numbers.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a over the name keeps streams apart; the first outputs mix it with the seed.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut stream = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash);
        stream.draw();
        stream
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high.saturating_sub(low) + 1)
    }

    /// A number below `n`; 0 when there is none.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        usize::try_from(self.draw() % n as u64).unwrap_or(0)
    }

    /// True in so many cases of a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.draw() % 100 < chance
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// One of them by weight: `(weight, value)`.
    pub fn weighted<'a, T>(&mut self, of: &'a [(u64, T)]) -> &'a T {
        let total: u64 = of.iter().map(|(w, _)| w).sum();
        let mut at = self.draw() % total.max(1);
        for (weight, value) in of {
            if at < *weight {
                return value;
            }
            at -= weight;
        }
        &of[of.len() - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_names_or_seeds_differ_and_equal_ones_do_not() {
        let take = |seed, name| {
            let mut stream = Stream::new(seed, name);
            [stream.draw(), stream.draw(), stream.draw()]
        };
        assert_eq!(take(1, "faults"), take(1, "faults"));
        assert_ne!(take(1, "faults"), take(1, "actions"));
        assert_ne!(take(1, "faults"), take(2, "faults"));
    }

    #[test]
    fn weights_are_respected() {
        let mut stream = Stream::new(7, "weights");
        let table = [(9, 'a'), (1, 'b')];
        let rare = (0..10_000).filter(|_| *stream.weighted(&table) == 'b').count();
        assert!((800..1200).contains(&rare), "{rare}");
    }
}
