//! Times and durations as people read them. In one place, so that the lines, the table and the
//! screen say the same.
//!
//! Stop 8 of EDU_NOTES.md.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The duration of a tool call: `26ms`, `5.1s`, `1m05s`.
pub fn describe(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ ..60 => format!("{seconds}.{}s", duration.subsec_millis() / 100),
        seconds => describe_seconds(seconds),
    }
}

/// A duration that is known to the second: `5s`, `1m05s`, `2h03m`, `3d04h`.
pub fn describe_seconds(seconds: u64) -> String {
    match seconds {
        0 => "<1s".into(),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// An age in one unit: `12s`, `5m`, `3h`, `2d`.
pub fn describe_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `HH:MM:SS` in a time zone.
pub fn time_of_day(time: Timestamp, zone: TimeZone) -> String {
    let local = time.to_zoned_datetime(zone);
    local.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_units_at_most_and_an_age_has_one() {
        assert_eq!(describe(Duration::from_millis(26)), "26ms");
        assert_eq!(describe(Duration::from_millis(5199)), "5.1s");
        let both = |seconds| (describe_seconds(seconds), describe_age(seconds));
        for (seconds, duration, age) in [
            (0, "<1s", "0s"),
            (59, "59s", "59s"),
            (65, "1m05s", "1m"),
            (7_380, "2h03m", "2h"),
            (273_600, "3d04h", "3d"),
        ] {
            assert_eq!(both(seconds), (duration.into(), age.into()));
        }
    }
}
