//! The usage chart: credits per day, stacked by series, as SVG geometry in integers.
//!
//! Horizontal places are hundredths of a percent of the plot, so that the chart fills any width while its
//! text keeps its size; vertical places are hundredths of a pixel. This file draws nothing and knows no
//! colours: the template writes the SVG, the style sheet colours it by series number.

use super::format::thousands;

/// Plot height in pixels; the template adds the room for the labels.
pub const HEIGHT: i64 = 190;
/// As many colours as the style sheet tells apart. What is beyond them is drawn as "Other".
pub const MOST_SERIES: usize = 8;

/// What tells the series apart without colours, as paths in squares of 8 pixels: plain, rising, flat, falling, upright, dots, checks,
/// zigzag.
pub const PATTERNS: [&str; MOST_SERIES] = [
    "",
    "M-2 2L2-2M0 8L8 0M6 10L10 6",
    "M0 4H8",
    "M-2 6L2 10M0 0L8 8M6-2L10 2",
    "M4 0V8",
    "M3 4H5",
    "M0 4H8M4 0V8",
    "M0 6L4 2L8 6",
];

const SCALE: i128 = 100;
const WIDTH: i128 = 100 * SCALE;
/// A lone bar must not fill the card: there are always at least this many places for bars.
const FEWEST_SLOTS: usize = 7;
const MOST_LABELS_WIDE: usize = 12;
const MOST_LABELS_NARROW: usize = 5;

/// One bar's worth of input: its label and the credits of each series, in any order.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub label: String,
    pub credits: Vec<(String, i64)>,
}

#[derive(Debug, Clone, Default)]
pub struct Chart {
    pub legend: Vec<String>,
    pub ticks: Vec<Tick>,
    pub bars: Vec<Bar>,
    pub total: i128,
    /// Pixels the axis labels need.
    pub axis_width: usize,
}

#[derive(Debug, Clone)]
pub struct Tick {
    pub y: Fixed,
    pub credits: i128,
}

#[derive(Debug, Clone)]
pub struct Bar {
    pub label: String,
    /// Whether there is room for the label on a wide, and on a narrow screen.
    pub shown_wide: bool,
    pub shown_narrow: bool,
    pub middle: Fixed,
    pub left: Fixed,
    pub width: Fixed,
    pub total: i128,
    pub segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
pub struct Segment {
    /// Index into the legend.
    pub series: usize,
    pub credits: i128,
    pub y: Fixed,
    pub height: Fixed,
}

/// A number of hundredths, written with its two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fixed(pub i128);

impl std::fmt::Display for Fixed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{:02}", self.0 / SCALE, self.0 % SCALE)
    }
}

/// Lays the buckets out. Negative amounts count as nothing: usage is what was charged.
pub fn draw(buckets: &[Bucket]) -> Chart {
    let (legend, stacks) = stack(buckets);
    let highest = stacks.iter().map(|stack| stack.iter().sum::<i128>()).max().unwrap_or(0);
    let (step, count) = scale(highest);
    let top = step * count;
    let plot = i128::from(HEIGHT) * SCALE;
    let ticks: Vec<Tick> = (0..=count)
        .map(|index| Tick { y: Fixed(plot - plot * index / count), credits: step * index })
        .collect();

    let slots = buckets.len().max(FEWEST_SLOTS);
    let slot = WIDTH / slots as i128;
    let width = slot * 64 / 100;
    let bars = buckets
        .iter()
        .zip(stacks)
        .enumerate()
        .map(|(index, (bucket, stack))| {
            let start = slot * index as i128;
            Bar {
                label: bucket.label.clone(),
                shown_wide: is_labelled(buckets.len() - 1 - index, slots, MOST_LABELS_WIDE),
                shown_narrow: is_labelled(buckets.len() - 1 - index, slots, MOST_LABELS_NARROW),
                middle: Fixed(start + slot / 2),
                left: Fixed(start + (slot - width) / 2),
                width: Fixed(width),
                total: stack.iter().sum(),
                segments: segments(&stack, top, plot),
            }
        })
        .collect::<Vec<_>>();

    let axis_width = thousands(top).len() * 8 + 12;
    Chart { legend, ticks, total: bars.iter().map(|bar| bar.total).sum(), bars, axis_width }
}

/// The series in order of what they cost, and each bucket's credits in that order.
fn stack(buckets: &[Bucket]) -> (Vec<String>, Vec<Vec<i128>>) {
    let mut totals: Vec<(String, i128)> = Vec::new();
    for (name, credits) in buckets.iter().flat_map(|bucket| &bucket.credits) {
        let credits = i128::from(*credits).max(0);
        match totals.iter_mut().find(|(known, _)| known == name) {
            Some((_, total)) => *total += credits,
            None => totals.push((name.clone(), credits)),
        }
    }
    totals.retain(|(_, total)| *total > 0);
    // By name among equals, so that the same numbers always get the same colours.
    totals.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut legend: Vec<String> = totals.into_iter().map(|(name, _)| name).collect();
    let named = if legend.len() > MOST_SERIES { MOST_SERIES - 1 } else { legend.len() };
    let mut rest = legend.split_off(named);
    if !rest.is_empty() {
        legend.push("Other".to_owned());
    }
    rest.sort();

    let stacks = buckets
        .iter()
        .map(|bucket| {
            let mut stack = vec![0; legend.len()];
            for (name, credits) in &bucket.credits {
                let series = match legend[..named].iter().position(|known| known == name) {
                    Some(series) => Some(series),
                    None => rest.binary_search(name).ok().map(|_| named),
                };
                if let Some(series) = series {
                    stack[series] += i128::from(*credits).max(0);
                }
            }
            stack
        })
        .collect();
    (legend, stacks)
}

/// Both edges of a segment are rounded from running sums, so a stack is exactly as high as its total.
fn segments(stack: &[i128], top: i128, plot: i128) -> Vec<Segment> {
    let mut below = 0;
    let mut out = Vec::new();
    for (series, credits) in stack.iter().copied().enumerate().filter(|(_, credits)| *credits > 0) {
        let from = plot * below / top;
        below += credits;
        let to = plot * below / top;
        out.push(Segment { series, credits, y: Fixed(plot - to), height: Fixed(to - from) });
    }
    out
}

/// A step of 1, 2, 4 or 5 times a power of ten, and how many of them reach the highest bar: four to five
/// where the numbers allow it.
fn scale(highest: i128) -> (i128, i128) {
    let mut power = 1;
    loop {
        for step in [power, power * 2, power * 4, power * 5] {
            let count = (highest + step - 1) / step;
            if count <= 5 {
                return (step, count.max(1));
            }
        }
        power *= 10;
    }
}

/// Every n-th bar is labelled, counted back from the last: the most recent day is the one people look for.
fn is_labelled(back: usize, slots: usize, most: usize) -> bool {
    back.is_multiple_of(slots.div_ceil(most).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(label: &str, credits: &[(&str, i64)]) -> Bucket {
        let credits = credits.iter().map(|(name, credits)| ((*name).to_owned(), *credits)).collect();
        Bucket { label: label.to_owned(), credits }
    }

    /// What must hold for any input.
    fn check(buckets: &[Bucket]) -> Chart {
        let chart = draw(buckets);
        let plot = Fixed(i128::from(HEIGHT) * SCALE);
        assert_eq!(chart.bars.len(), buckets.len());
        assert!(chart.legend.len() <= MOST_SERIES);
        assert!((2..=6).contains(&chart.ticks.len()), "{} ticks", chart.ticks.len());
        let top = chart.ticks.last().expect("there is always an axis").credits;
        let mut right = Fixed(0);
        for (bar, bucket) in chart.bars.iter().zip(buckets) {
            let expected: i128 = bucket.credits.iter().map(|(_, credits)| i128::from(*credits).max(0)).sum();
            assert_eq!(bar.total, expected);
            assert_eq!(bar.segments.iter().map(|segment| segment.credits).sum::<i128>(), expected);
            let height: i128 = bar.segments.iter().map(|segment| segment.height.0).sum();
            assert_eq!(height, plot.0 * expected / top, "the stack is as high as its total");
            assert!(bar.segments.iter().all(|segment| segment.y >= Fixed(0) && segment.y <= plot));
            assert!(bar.left >= right && bar.width.0 > 0, "bars do not overlap");
            right = Fixed(bar.left.0 + bar.width.0);
            assert!(right.0 <= WIDTH);
        }
        assert_eq!(chart.total, chart.bars.iter().map(|bar| bar.total).sum::<i128>());
        let labels = |shown: fn(&Bar) -> bool| chart.bars.iter().filter(|bar| shown(bar)).count();
        assert!(labels(|bar| bar.shown_wide) <= MOST_LABELS_WIDE);
        assert!(labels(|bar| bar.shown_narrow) <= MOST_LABELS_NARROW);
        chart
    }

    #[test]
    fn no_data_still_has_an_axis() {
        assert_eq!(check(&[]).total, 0);
        let chart = check(&[bucket("1 Nov", &[]), bucket("2 Nov", &[("Sends", 0)])]);
        assert!(chart.legend.is_empty());
        assert_eq!(chart.ticks.iter().map(|tick| tick.credits).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn ticks_are_round_numbers() {
        let cases = [(1, 1, 1), (3, 1, 3), (9, 2, 5), (1_640, 400, 5), (9_000, 2_000, 5), (2_100, 500, 5)];
        for (highest, step, count) in cases {
            assert_eq!(scale(highest), (step, count), "highest {highest}");
        }
    }

    #[test]
    fn one_bar_and_ninety() {
        check(&[bucket("1 Nov", &[("Sends", 2)])]);
        let ninety: Vec<Bucket> = (0..90)
            .map(|day| bucket(&format!("{day}"), &[("Sends", day * 7 % 31), ("Previews", 2)]))
            .collect();
        let chart = check(&ninety);
        assert!(chart.bars[89].shown_wide && chart.bars[89].shown_narrow);
    }

    #[test]
    fn the_dearest_series_is_at_the_bottom() {
        let chart = check(&[bucket("1 Nov", &[("Sends", 4), ("Contacts", 60), ("Refund", -4)])]);
        assert_eq!(chart.legend, ["Contacts", "Sends"]);
        assert_eq!(chart.bars[0].segments[0].series, 0);
    }

    #[test]
    fn too_many_series_become_other_and_lose_nothing() {
        let names: Vec<String> = (0..20).map(|index| format!("Campaign {index:02}")).collect();
        let credits: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 10)).collect();
        let chart = check(&[bucket("1 Nov", &credits)]);
        assert_eq!(chart.legend.len(), MOST_SERIES);
        assert_eq!(chart.legend[MOST_SERIES - 1], "Other");
        assert_eq!(chart.bars[0].segments[MOST_SERIES - 1].credits, 130);
    }

    #[test]
    fn amounts_near_the_limit_do_not_overflow() {
        let chart =
            check(&[bucket("1 Nov", &[("Sends", i64::MAX), ("Contacts", i64::MAX), ("Messages", 1)])]);
        assert_eq!(chart.total, i128::from(i64::MAX) * 2 + 1);
    }
}
