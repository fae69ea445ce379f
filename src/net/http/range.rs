//! Which bytes of a file a request wants (RFC 9110, sections 13 and 14).

use axum::http::{HeaderMap, Method, header};

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything.
    Whole,
    /// From the first byte to the last, both included.
    Part { first: u64, last: u64 },
    /// A range outside the file.
    Outside,
    /// What it has is what there is.
    Unchanged,
}

/// Reads the conditions and the range. A range that is malformed, of another unit, or several at once is ignored, as
/// RFC 9110 14.2 allows: the answer is the whole file.
pub(super) fn wanted(method: &Method, headers: &HeaderMap, tag: &str, length: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if let Some(known) = text(header::IF_NONE_MATCH) {
        // Weak comparison (13.1.2).
        let same = |one: &str| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag;
        if known.split(',').any(same) {
            return Wanted::Unchanged;
        }
    }
    let Some(range) = text(header::RANGE).filter(|_| *method == Method::GET) else { return Wanted::Whole };
    // Strong comparison (13.1.5); a date is never ours, since no Last-Modified is sent.
    if text(header::IF_RANGE).is_some_and(|condition| condition.trim() != tag) {
        return Wanted::Whole;
    }
    let Some((unit, set)) = range.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Wanted::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Wanted::Whole };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than a u64 holds is beyond any file.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => part(first, u64::MAX, length),
        (Some(first), Some(last)) if first <= last => part(first, last, length),
        (None, Some(0)) if first.is_empty() => Wanted::Outside,
        (None, Some(suffix)) if first.is_empty() => part(length.saturating_sub(suffix), u64::MAX, length),
        _ => Wanted::Whole,
    }
}

const fn part(first: u64, last: u64, length: u64) -> Wanted {
    if first >= length {
        return Wanted::Outside;
    }
    Wanted::Part { first, last: if last < length { last } else { length - 1 } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;
    use proptest::prelude::*;

    fn ask(length: u64, headers: &[(HeaderName, &str)]) -> Wanted {
        let headers = headers.iter().map(|(n, v)| (n.clone(), v.parse().expect("a header"))).collect();
        wanted(&Method::GET, &headers, "\"tag\"", length)
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part { first: 0, last: 0 }),
            ("bytes=10-", Wanted::Part { first: 10, last: 99 }),
            ("bytes=10-500", Wanted::Part { first: 10, last: 99 }),
            ("bytes=-10", Wanted::Part { first: 90, last: 99 }),
            ("bytes=-500", Wanted::Part { first: 0, last: 99 }),
            ("BYTES=1-2", Wanted::Part { first: 1, last: 2 }),
            ("bytes=100-", Wanted::Outside),
            ("bytes=99999999999999999999999-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=1", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(ask(100, &[(header::RANGE, range)]), expected, "{range}");
        }
        assert_eq!(ask(0, &[(header::RANGE, "bytes=0-")]), Wanted::Outside);
        assert_eq!(ask(0, &[(header::RANGE, "bytes=-1")]), Wanted::Outside);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let range = (header::RANGE, "bytes=1-2");
        assert_eq!(ask(9, &[range.clone(), (header::IF_RANGE, "\"tag\"")]), Wanted::Part { first: 1, last: 2 });
        for stale in ["\"other\"", "W/\"tag\"", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(ask(9, &[range.clone(), (header::IF_RANGE, stale)]), Wanted::Whole, "{stale}");
        }
        for known in ["\"tag\"", "W/\"tag\"", "\"a\", \"tag\"", "*"] {
            assert_eq!(ask(9, &[range.clone(), (header::IF_NONE_MATCH, known)]), Wanted::Unchanged, "{known}");
        }
        let head = wanted(
            &Method::HEAD,
            &[(header::RANGE, "bytes=1-2".parse().expect("a header"))].into_iter().collect(),
            "",
            9,
        );
        assert_eq!(head, Wanted::Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_always_within_the_file(range in "bytes=[0-9]{0,21}-[0-9]{0,21}", length in 0u64..1000) {
            if let Wanted::Part { first, last } = ask(length, &[(header::RANGE, &range)]) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
