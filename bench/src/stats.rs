//! Percentiles, medians and the way figures are written. All whole numbers: per second, microseconds, tenths.

/// One row in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) per_second: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// A row over all rounds.
pub(crate) struct Row {
    pub(crate) system: String,
    pub(crate) workload: &'static str,
    pub(crate) rounds: Vec<Measured>,
}

impl Measured {
    pub(crate) fn new(per_second: u64, mut latencies_us: Vec<u32>) -> Self {
        latencies_us.sort_unstable();
        let at = |percent: usize| {
            let index = (latencies_us.len() * percent / 100).min(latencies_us.len().saturating_sub(1));
            latencies_us.get(index).copied().map_or(0, u64::from)
        };
        Self { per_second, p50_us: at(50), p99_us: at(99) }
    }
}

impl Row {
    pub(crate) fn new(system: impl Into<String>, workload: &'static str) -> Self {
        Self { system: system.into(), workload, rounds: Vec::new() }
    }

    pub(crate) fn per_second(&self) -> u64 {
        median(self.rounds.iter().map(|it| it.per_second)).0
    }

    pub(crate) fn p99_us(&self) -> u64 {
        median(self.rounds.iter().map(|it| it.p99_us)).0
    }

    /// The row as a line of a Markdown table, medians with [min-max].
    pub(crate) fn line(&self) -> String {
        let (rate, low, high) = median(self.rounds.iter().map(|it| it.per_second));
        let (p50, ..) = median(self.rounds.iter().map(|it| it.p50_us));
        let (p99, p99_low, p99_high) = median(self.rounds.iter().map(|it| it.p99_us));
        format!(
            "| {} | {} | {} [{}-{}] | {} | {} [{}-{}] |",
            self.system,
            self.workload,
            thousands(rate),
            thousands(low),
            thousands(high),
            milliseconds(p50),
            milliseconds(p99),
            milliseconds(p99_low),
            milliseconds(p99_high),
        )
    }
}

/// The median, the least and the greatest.
fn median(values: impl Iterator<Item = u64>) -> (u64, u64, u64) {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    match (sorted.first(), sorted.last()) {
        (Some(&low), Some(&high)) => (sorted[sorted.len() / 2], low, high),
        _ => (0, 0, 0),
    }
}

/// `a / b` with one decimal, below 2 with two: 0.87 is not 0.9.
pub(crate) fn ratio(a: u64, b: u64) -> String {
    let in_parts = |parts: u64| (a * parts + b / 2).checked_div(b).unwrap_or(0);
    let (tenths, hundredths) = (in_parts(10), in_parts(100));
    if hundredths < 200 {
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

pub(crate) fn milliseconds(us: u64) -> String {
    let tenths = (us + 50) / 100;
    if us < 10_000 {
        format!("{}.{:02}", us / 1000, us % 1000 / 10)
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

pub(crate) fn thousands(number: u64) -> String {
    if number < 1000 {
        number.to_string()
    } else {
        format!("{} {:03}", thousands(number / 1000), number % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_plainly() {
        assert_eq!(thousands(1_234_005), "1 234 005");
        assert_eq!((milliseconds(1_239), milliseconds(255_960)), ("1.23".into(), "256.0".into()));
        assert_eq!(
            (ratio(25, 10), ratio(866, 1_000), ratio(7, 0)),
            ("2.5".into(), "0.87".into(), "0.00".into())
        );
        assert_eq!(
            Measured::new(9, (1..=100).rev().collect()),
            Measured { per_second: 9, p50_us: 51, p99_us: 100 }
        );
        let mut row = Row::new("it", "W1");
        row.rounds = [3, 1, 2].map(|per_second| Measured { per_second, p50_us: 1000, p99_us: 2000 }).to_vec();
        assert_eq!(row.line(), "| it | W1 | 2 [1-3] | 1.00 | 2.00 [2.00-2.00] |");
    }
}
