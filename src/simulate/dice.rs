//! Chance that is the same for the same seed: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
//! generators", 2014), one stream a machine, so that what one machine meets does not hang on what others do.

use std::str::FromStr;
use std::time::Duration;

/// One stream of chance.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream of a machine.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        dice.next();
        dice
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0.0..1.0`.
    pub fn part(&mut self) -> f64 {
        // 53 bits are what a double holds exactly.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.part() < probability
    }

    /// A number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The bias of a remainder is nothing beside numbers this small.
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// A time in a range.
    pub fn time(&mut self, range: Seconds) -> Duration {
        let part = self.part();
        Duration::from_secs_f64(range.first + (range.last - range.first) * part)
    }
}

/// Why a text is no range of seconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of seconds: write 5, 0.5 or 1..5")]
pub struct NoSeconds(String);

/// A range of seconds, both ends included: `5`, `0.5`, `1..5`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(try_from = "Written")]
pub struct Seconds {
    first: f64,
    last: f64,
}

/// A day: nothing that is simulated takes longer.
const LONGEST_SECONDS: f64 = 86_400.0;

impl FromStr for Seconds {
    type Err = NoSeconds;

    fn from_str(text: &str) -> Result<Self, NoSeconds> {
        let wrong = || NoSeconds(text.chars().take(40).collect());
        let number = |part: &str| {
            let number: f64 = part.trim().parse().map_err(|_| wrong())?;
            if (0.0..=LONGEST_SECONDS).contains(&number) { Ok(number) } else { Err(wrong()) }
        };
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if first > last {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl TryFrom<Written> for Seconds {
    type Error = NoSeconds;

    fn try_from(written: Written) -> Result<Self, NoSeconds> {
        match written {
            Written::Number(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

/// Seconds as content writes them: a number or a text.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

/// A probability, from `0` to `1`.
///
/// # Errors
/// A text that is none.
pub fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("a probability is a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_chance_and_streams_differ() {
        let take = |seed, stream| {
            let mut dice = Dice::new(seed, stream);
            (0..8).map(|_| dice.next()).collect::<Vec<_>>()
        };
        assert_eq!(take(7, 1), take(7, 1));
        assert_ne!(take(7, 1), take(7, 2));
        assert_ne!(take(7, 1), take(8, 1));
    }

    #[test]
    fn a_probability_is_met_about_as_often_as_it_says() {
        let mut dice = Dice::new(1, 1);
        let met = (0..10_000).filter(|_| dice.happens(0.25)).count();
        assert!((2_300..2_700).contains(&met), "{met}");
        assert!(!(0..1_000).any(|_| dice.happens(0.0)));
    }

    #[test]
    fn ranges_of_seconds_are_read_and_nonsense_is_refused() {
        let mut dice = Dice::new(1, 1);
        for (text, first, last) in [("5", 5.0, 5.0), ("0.5", 0.5, 0.5), ("1..5", 1.0, 5.0), ("0..0", 0.0, 0.0)] {
            let range: Seconds = text.parse().unwrap();
            let time = dice.time(range).as_secs_f64();
            assert!((first..=last).contains(&time), "{text}: {time}");
        }
        for text in ["", "a", "5..1", "-1", "1..", "NaN", "inf", "1..2..3"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }
}
