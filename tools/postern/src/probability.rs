//! How likely one scan of everything, in random order, opens a door by chance.
//!
//! A scan that visits every port once, in random order, completes a sequence of `n` knocks only if
//! the knocks come in their order, within the sequence's time, and no guard was touched for as
//! long before the last of them.
//!
//! - **Fast scan**, over within the sequence's time: the `n` knocks must come first among the `n`
//!   knocks and `g` guards, and in order: `1 / ((g+1)(g+2)...(g+n))`.
//! - **Slow scan**, of which the sequence's time covers the part `u`: the knocks must come in
//!   order within that part, and none of the guards in the part before the last knock:
//!   `n * u^(n-1) / n! * (1-u)^g`. The scanner may choose `u`; the worst is near
//!   `u = (n-1) / (g+n-1)`.
//!
//! The larger of both is what a door is worth against one scan.

/// The probability for a sequence of `knocks` behind `guards` guard values.
pub fn one_scan(knocks: u32, guards: u32) -> f64 {
    fast_scan(knocks, guards).max(slow_scan(knocks, guards))
}

fn fast_scan(knocks: u32, guards: u32) -> f64 {
    (1..=knocks).map(|position| 1.0 / (f64::from(guards) + f64::from(position))).product()
}

fn slow_scan(knocks: u32, guards: u32) -> f64 {
    if knocks < 2 {
        // A scan slow enough touches no guard within the sequence's time before the one knock.
        return 1.0;
    }
    let order: f64 = (1..knocks).map(|position| 1.0 / f64::from(position)).product();
    let at = |part: f64| order * part.powf(f64::from(knocks - 1)) * (1.0 - part).powf(f64::from(guards));
    let worst = f64::from(knocks - 1) / (f64::from(guards) + f64::from(knocks - 1));
    at(worst)
}

/// As people read it: `1 in 84,000`.
pub fn words(probability: f64) -> String {
    if probability >= 1.0 {
        return "1 in 1: certain".into();
    }
    let one_in = 1.0 / probability;
    let (value, unit) = match one_in {
        value if value < 1e6 => return format!("1 in {:.0}", value),
        value if value < 1e9 => (value / 1e6, "million"),
        value if value < 1e12 => (value / 1e9, "billion"),
        value if value < 1e15 => (value / 1e12, "trillion"),
        value => return format!("1 in {value:.0e}"),
    };
    format!("1 in {value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SplitMix64`, seeded.
    struct Random(u64);

    impl Random {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
        }
    }

    /// Plays scans of duration 1 with a sequence time of `part`.
    fn played(knocks: usize, guards: usize, part: f64, scans: u32) -> f64 {
        let mut random = Random(42);
        let mut opened = 0;
        for _ in 0..scans {
            let times: Vec<f64> = (0..knocks).map(|_| random.unit()).collect();
            let guard_times: Vec<f64> = (0..guards).map(|_| random.unit()).collect();
            let last = times[knocks - 1];
            let in_order = times.windows(2).all(|pair| pair[0] < pair[1]) && last - times[0] <= part;
            let tainted = guard_times.iter().any(|&time| time <= last && time >= last - part);
            opened += u32::from(in_order && !tainted);
        }
        f64::from(opened) / f64::from(scans)
    }

    #[test]
    fn a_fast_scan_agrees_with_play() {
        let (expected, found) = (fast_scan(2, 3), played(2, 3, 2.0, 400_000));
        assert!((expected - 1.0 / 20.0).abs() < 1e-12);
        assert!((found / expected - 1.0).abs() < 0.05, "{found} {expected}");
    }

    #[test]
    fn no_pace_beats_the_bound() {
        for (knocks, guards) in [(2, 4), (3, 6), (3, 12)] {
            let bound = one_scan(knocks, guards);
            for part in [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0] {
                let found = played(knocks as usize, guards as usize, part, 200_000);
                // Three standard deviations of the play.
                let slack = 3.0 * (bound / 200_000.0).sqrt();
                assert!(
                    found <= bound + slack,
                    "{knocks} knocks, {guards} guards, {part}: {found} > {bound}"
                );
            }
        }
    }

    #[test]
    fn more_guards_and_more_knocks_are_better() {
        assert!(one_scan(3, 1000) < one_scan(3, 100));
        assert!(one_scan(4, 100) < one_scan(3, 100));
        assert!(one_scan(1, 1000) >= 1.0);
        // knockd has no guards: one in n factorial.
        assert!(one_scan(3, 0) >= 1.0 / 6.0);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(words(1.0), "1 in 1: certain");
        assert_eq!(words(1.0 / 6.0), "1 in 6");
        assert_eq!(words(1.2e-11), "1 in 83.3 billion");
    }
}
