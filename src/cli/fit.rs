//! Which columns of a table stay where the terminal is narrow. Pure.

/// Between two columns, characters.
pub const GAP: usize = 2;

/// Which columns are shown of those with these natural widths (0: empty everywhere, not shown), so that the last one, which
/// says why, keeps at least `least` of the room. `first_to_go` are dropped in that order, and no others.
pub fn shown(widths: &[usize], first_to_go: &[usize], least: usize, room: usize) -> Vec<bool> {
    let mut shown: Vec<bool> = widths.iter().map(|width| *width > 0).collect();
    let why = widths.last().copied().unwrap_or(0).min(least);
    for column in first_to_go {
        if total(widths, &shown) + why <= room {
            break;
        }
        if let Some(column) = shown.get_mut(*column) {
            *column = false;
        }
    }
    shown
}

/// Characters that the columns before the last one take, with the gaps after them.
pub fn total(widths: &[usize], shown: &[bool]) -> usize {
    let before = widths.len().saturating_sub(1);
    widths.iter().zip(shown).take(before).filter(|(_, shown)| **shown).map(|(width, _)| width + GAP).sum()
}

/// A name of a pack's own main object in one word: `discovery.discovery` is `discovery`.
pub fn short_name(name: &str) -> &str {
    match name.split_once('.') {
        Some((pack, own)) if pack == own => own,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_in_their_order_until_the_reason_has_room() {
        let widths = [6, 7, 3, 0, 40];
        for (room, expected) in [
            (100, [true, true, true, false, true]),
            (41, [true, true, false, false, true]),
            (20, [true, false, false, false, true]),
        ] {
            assert_eq!(shown(&widths, &[2, 1], 20, room), expected, "{room}");
        }
        assert_eq!(shown(&[6, 7, 3], &[1], 20, 20), [true, true, true], "a short reason takes no more than it needs");
    }

    #[test]
    fn a_pack_named_as_its_object_is_said_once() {
        for (name, short) in
            [("discovery.discovery", "discovery"), ("hardware.burn-in", "hardware.burn-in"), ("local", "local")]
        {
            assert_eq!(short_name(name), short);
        }
    }
}
