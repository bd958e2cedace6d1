//! Parts of the day, on some or all days of the week: `01:00-06:00`, `Mon-Fri 08:00-18:00`, `Sat,Sun`.

use super::YamlPath;
use super::error::Contradiction;
use super::raw::OneOrMany;

/// Minutes of a day on the wall.
pub const MINUTES_PER_DAY: u16 = 24 * 60;

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weekdays(u8);

impl Weekdays {
    /// All seven.
    pub const ALL: Self = Self(0b111_1111);

    /// Whether it has the day, by its number from Monday, 0.
    pub fn has(self, day: u8) -> bool {
        self.0 & (1 << day) != 0
    }
}

/// A part of the day; one that ends before it starts goes over midnight, and belongs to the day on which it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The days on which it starts.
    pub days: Weekdays,
    /// Its first minute of the day.
    pub from_minute: u16,
    /// The first minute of the day behind it, up to [`MINUTES_PER_DAY`].
    pub to_minute: u16,
}

impl Window {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let (days, hours) = match text.trim().split_once(' ') {
            Some((days, hours)) => (weekdays(days)?, hours.trim()),
            None if text.contains(':') => (Weekdays::ALL, text.trim()),
            None => (weekdays(text.trim())?, "00:00-24:00"),
        };
        let (from, to) = hours.split_once('-')?;
        let (from_minute, to_minute) = (minute(from)?, minute(to)?);
        let possible = from_minute != to_minute && from_minute < MINUTES_PER_DAY;
        possible.then_some(Self {
            days,
            from_minute,
            to_minute,
        })
    }

    /// How many minutes it lasts on the wall.
    pub fn minutes(&self) -> u16 {
        match self.to_minute.checked_sub(self.from_minute) {
            Some(minutes) => minutes,
            None => self.to_minute + MINUTES_PER_DAY - self.from_minute,
        }
    }
}

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// `Mon-Fri`, `Sat,Sun`, `Fri-Mon`.
fn weekdays(text: &str) -> Option<Weekdays> {
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (weekday(first)?, weekday(last)?);
        for step in 0..=(last + 7 - first) % 7 {
            days |= 1 << ((first + step) % 7);
        }
    }
    Some(Weekdays(days))
}

fn weekday(text: &str) -> Option<u8> {
    let name = text.trim().to_ascii_lowercase();
    let at = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(at).ok()
}

/// `HH:MM` as a minute of the day; `24:00` is its end.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= MINUTES_PER_DAY).then_some(of_day)
}

/// Reads one or several.
pub(super) fn windows(
    raw: Option<&OneOrMany>,
    at: &YamlPath,
) -> Result<Vec<Window>, Contradiction> {
    match raw {
        None => Ok(Vec::new()),
        Some(OneOrMany::One(text)) => Ok(vec![window(text, at.clone())?]),
        Some(OneOrMany::Many(texts)) => texts
            .iter()
            .enumerate()
            .map(|(index, text)| window(text, at.item(index)))
            .collect(),
    }
}

fn window(text: &str, at: YamlPath) -> Result<Window, Contradiction> {
    Window::parse(text).ok_or_else(|| {
        let advice = "write one like \"01:00-06:00\" or \"Mon-Fri 22:00-04:00\"";
        Contradiction::new(at, "this is not a part of the day", advice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_day_are_read_with_and_without_days() {
        let table: [(&str, u8, u16, u16); 6] = [
            ("01:00-06:00", 0b111_1111, 60, 360),
            ("Mon-Fri 08:00-18:00", 0b001_1111, 480, 1080),
            ("fri-mon 22:00-04:00", 0b111_0001, 1320, 240),
            ("Sat,Sun", 0b110_0000, 0, 1440),
            ("Wed  12:30 - 24:00", 0b000_0100, 750, 1440),
            (" 00:00-24:00 ", 0b111_1111, 0, 1440),
        ];
        for (text, days, from_minute, to_minute) in table {
            let expected = Window {
                days: Weekdays(days),
                from_minute,
                to_minute,
            };
            assert_eq!(Window::parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_part_of_the_day_is_refused() {
        for text in [
            "",
            "1-2",
            "01:00",
            "01:00-01:00",
            "24:00-01:00",
            "25:00-26:00",
            "01:60-02:00",
            "Mo 01:00-02:00",
            "Mon- 01:00-02:00",
            "01:00-24:01",
            "+1:00-02:00",
            "Mon-Fri-Sat",
        ] {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_window_over_midnight_lasts_into_the_next_day() {
        let minutes = |text| Window::parse(text).map(|window| window.minutes());
        assert_eq!(minutes("22:00-04:00"), Some(360));
        assert_eq!(minutes("22:00-24:00"), Some(120));
        assert_eq!(minutes("Sun"), Some(1440));
    }
}
