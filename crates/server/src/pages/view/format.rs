//! How figures look on the screen: exact, grouped by thousands, with a real minus sign.
//!
//! Nothing here rounds a credit. The one figure that may be rounded, a price per credit, says "about".

use crate::catalog::decimal_places;

/// U+2212: as wide as a digit and a plus, so that signed columns line up. A hyphen is neither.
const MINUS: char = '\u{2212}';

/// `-6400` is `−6,400`.
pub fn thousands(number: impl Into<i128>) -> String {
    let number: i128 = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 3);
    if number < 0 {
        out.push(MINUS);
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// An amount in the currency's smallest unit: `10000, "usd"` is `$100`, `1250` is `$12.50`.
/// Whole amounts drop the decimals, because packs and plans are priced in whole ones.
pub fn money(minor: i64, currency: &str) -> String {
    let code = currency.to_ascii_uppercase();
    let places = decimal_places(&code);
    let scale = 10_u64.pow(places);
    let (whole, rest) = (minor.unsigned_abs() / scale, minor.unsigned_abs() % scale);
    let mut figure = thousands(whole);
    if rest > 0 {
        figure.push_str(&format!(".{rest:0width$}", width = places as usize));
    }
    let sign = if minor < 0 { MINUS.to_string() } else { String::new() };
    match symbol(&code) {
        Some(symbol) => format!("{sign}{symbol}{figure}"),
        None => format!("{sign}{figure} {code}"),
    }
}

/// Millionths of a currency: `20000, "USD"` is `$0.02`, `125` is `$0.000125`.
pub fn micros(sum: i64, currency: &str) -> String {
    let code = currency.to_ascii_uppercase();
    let (whole, rest) = (sum.unsigned_abs() / 1_000_000, sum.unsigned_abs() % 1_000_000);
    let mut places = format!("{rest:06}");
    while places.len() > decimal_places(&code) as usize && places.ends_with('0') {
        places.pop();
    }
    let point = if places.is_empty() { "" } else { "." };
    let (sign, figure) = (if sum < 0 { "\u{2212}" } else { "" }, thousands(whole));
    match symbol(&code) {
        Some(symbol) => format!("{sign}{symbol}{figure}{point}{places}"),
        None => format!("{sign}{figure}{point}{places} {code}"),
    }
}

/// What one credit of a pack costs, in the smallest unit: `$55` for 5,000 is `1.1¢`. Two decimals at most;
/// a price that does not fit them is marked "about".
pub fn money_per_credit(minor: i64, currency: &str, credits: i64) -> String {
    if credits <= 0 || minor < 0 {
        return String::new();
    }
    let (numerator, credits) = (i128::from(minor) * 100, i128::from(credits));
    let hundredths = (numerator + credits / 2) / credits;
    let about = if numerator % credits == 0 { "" } else { "about " };
    let decimals = match hundredths % 100 {
        rest if rest % 10 == 0 => format!("{}", rest / 10),
        rest => format!("{rest:02}"),
    };
    let figure = format!("{}.{decimals}", thousands(hundredths / 100));
    match currency.to_ascii_uppercase().as_str() {
        "USD" | "EUR" => format!("{about}{figure}¢"),
        "GBP" => format!("{about}{figure}p"),
        code if decimal_places(code) == 0 => format!("{about}{figure} {code}"),
        code => format!("{about}{figure}/100 {code}"),
    }
}

fn symbol(code: &str) -> Option<&'static str> {
    match code {
        "USD" => Some("$"),
        "EUR" => Some("€"),
        "GBP" => Some("£"),
        "JPY" => Some("¥"),
        _ => None,
    }
}

/// The same formats as methods, because templates read better as `{{ available.n() }}`.
pub trait Figure: Copy + Into<i128> {
    /// `6,400`
    fn n(self) -> String {
        thousands(self)
    }
    /// `+10,000`, `−6`, `0`: a change, as history shows it.
    fn signed(self) -> String {
        match self.into() {
            number if number > 0 => format!("+{}", thousands(number)),
            number => thousands(number),
        }
    }
    /// `1 credit`, `6,400 credits`
    fn credits(self) -> String {
        self.of("credit", "credits")
    }
    /// `about 4 days`; none is what is left of today.
    fn about_days(self) -> String {
        match self.into() {
            0 => "less than a day".to_owned(),
            _ => format!("about {}", self.of("day", "days")),
        }
    }
    /// `1 lead`, `214 leads`
    fn of(self, one: &str, many: &str) -> String {
        format!("{} {}", thousands(self), if self.into() == 1 { one } else { many })
    }
}

/// Text as one value of a query string.
pub trait QueryValue {
    fn query_value(&self) -> String;
}

impl QueryValue for str {
    fn query_value(&self) -> String {
        let mut out = String::with_capacity(self.len());
        for byte in self.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }
}

impl Figure for i64 {}
impl Figure for i128 {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped_and_exact() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-6_400, "−6,400"),
            (i64::MAX, "9,223,372,036,854,775,807"),
            (i64::MIN, "−9,223,372,036,854,775,808"),
        ];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(10_000_i64.signed(), "+10,000");
        assert_eq!((-6_i64).signed(), "−6");
        assert_eq!(0_i64.signed(), "0");
        assert_eq!(1_i64.credits(), "1 credit");
        assert_eq!([0_i64, 1].map(Figure::about_days), ["less than a day", "about 1 day"]);
    }

    #[test]
    fn a_query_value_cannot_leave_its_place() {
        assert_eq!("a b&c=ü#".query_value(), "a%20b%26c%3D%C3%BC%23");
    }

    #[test]
    fn money_follows_its_currency() {
        let cases = [
            (10_000, "usd", "$100"),
            (1_250, "USD", "$12.50"),
            (5, "EUR", "€0.05"),
            (-250_000, "GBP", "−£2,500"),
            (1_200, "JPY", "¥1,200"),
            (9_900, "CHF", "99 CHF"),
            (1_005, "KWD", "1.005 KWD"),
            (i64::MIN, "USD", "−$92,233,720,368,547,758.08"),
        ];
        for (minor, currency, text) in cases {
            assert_eq!(money(minor, currency), text);
        }
    }

    #[test]
    fn a_call_may_cost_less_than_a_cent() {
        let cases = [
            (20_000, "USD", "$0.02"),
            (125, "eur", "€0.000125"),
            (-1_234_500_000, "USD", "−$1,234.50"),
            (0, "USD", "$0.00"),
            (3_000_000, "JPY", "¥3"),
            (1_500_000, "CHF", "1.50 CHF"),
        ];
        for (sum, currency, text) in cases {
            assert_eq!(micros(sum, currency), text);
        }
    }

    #[test]
    fn a_price_per_credit_is_exact_or_says_about() {
        let cases = [
            (1_200, "USD", 1_000, "1.2¢"),
            (5_500, "USD", 5_000, "1.1¢"),
            (10_000, "USD", 10_000, "1.0¢"),
            (4_500, "EUR", 4_000, "about 1.13¢"),
            (100, "USD", 0, ""),
        ];
        for (minor, currency, credits, text) in cases {
            assert_eq!(money_per_credit(minor, currency, credits), text);
        }
    }
}
