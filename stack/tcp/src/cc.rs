//! Congestion control: how much may be in flight. One algorithm per file.

pub(crate) mod newreno;

use crate::limits;

/// RFC 6928 §2: min(10 MSS, max(2 MSS, 14 600)).
pub(crate) fn initial_window(mss: u16) -> u32 {
    let mss = u32::from(mss);
    let ceiling = mss.saturating_mul(2).max(limits::INITIAL_WINDOW_LEN);
    mss.saturating_mul(limits::INITIAL_WINDOW_SEGMENTS).min(ceiling)
}

#[cfg(test)]
mod tests {
    use super::initial_window;

    #[test]
    fn initial_window_is_ten_segments_or_what_rfc_6928_allows() {
        assert_eq!(initial_window(1460), 14_600);
        assert_eq!(initial_window(536), 5_360);
        assert_eq!(initial_window(8_960), 17_920);
    }
}
