//! A QR code in the terminal.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code (ISO/IEC 18004, section 6.3.8).
const QUIET: usize = 4;

/// How a code is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawing {
    /// Half blocks in black on white, whatever the colours of the terminal.
    Colours,
    /// ASCII, two characters a module; for dark text on a light ground, such as paper.
    Ascii,
}

/// Draws `text` as a QR code; `None` is too long for one.
pub fn draw(text: &str, drawing: Drawing) -> Option<String> {
    // The least correction: the way from a screen to a camera is short, and the code stays small.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, colors) = (code.width(), code.to_colors());
    let whole = width + 2 * QUIET;
    let dark = |row: usize, column: usize| {
        let (row, column) = (row.wrapping_sub(QUIET), column.wrapping_sub(QUIET));
        row < width && column < width && colors.get(row * width + column) == Some(&Color::Dark)
    };
    let mut out = String::new();
    let rows = (0..whole).step_by(if drawing == Drawing::Ascii { 1 } else { 2 });
    for row in rows {
        match drawing {
            Drawing::Ascii => {
                out.extend((0..whole).map(|column| if dark(row, column) { "##" } else { "  " }));
                out.truncate(out.trim_end_matches(' ').len());
            }
            Drawing::Colours => {
                // Black on bright white (ECMA-48, SGR, and the bright colours of every terminal since aixterm).
                out.push_str("\x1b[30;107m");
                out.extend((0..whole).map(|column| match (dark(row, column), dark(row + 1, column)) {
                    (true, true) => '\u{2588}',
                    (true, false) => '\u{2580}',
                    (false, true) => '\u{2584}',
                    (false, false) => ' ',
                }));
                out.push_str("\x1b[0m");
            }
        }
        out.push('\n');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "postern:1?name=pump-17";

    /// Both drawings show the same modules, and the finder patterns are where they must be.
    #[test]
    fn both_drawings_show_the_same_code() {
        let ascii = draw(TEXT, Drawing::Ascii).unwrap();
        let colours = draw(TEXT, Drawing::Colours).unwrap();
        let rows: Vec<&str> = ascii.lines().collect();
        let whole = rows.len();
        let dark = |row: usize, column: usize| {
            rows.get(row).is_some_and(|row| row.get(column * 2..column * 2 + 2) == Some("##"))
        };
        for (half, line) in colours.lines().enumerate() {
            let line = line.strip_prefix("\x1b[30;107m").unwrap().strip_suffix("\x1b[0m").unwrap();
            assert_eq!(line.chars().count(), whole);
            for (column, shown) in line.chars().enumerate() {
                let upper = matches!(shown, '\u{2588}' | '\u{2580}');
                let lower = matches!(shown, '\u{2588}' | '\u{2584}');
                assert_eq!((upper, lower), (dark(half * 2, column), dark(half * 2 + 1, column)));
            }
        }
        for corner in [(QUIET, QUIET), (QUIET, whole - QUIET - 7), (whole - QUIET - 7, QUIET)] {
            assert!((0..7).all(|at| dark(corner.0 + at, corner.1) && dark(corner.0, corner.1 + at)));
            assert!((1..6).all(|at| !dark(corner.0 + 1, corner.1 + at)));
        }
    }

    /// Other people's eyes: what is drawn is read by another implementation.
    #[test]
    fn another_implementation_reads_it() {
        let text = "postern:1?name=pump-17&gateway=gw17.example.net&device=acacacacacacacacacacacacacacacac\
                    &door=ssh&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=&first=1795000000000&check=df339231";
        let drawn = draw(text, Drawing::Ascii).unwrap();
        let rows: Vec<&str> = drawn.lines().collect();
        // Pixels of 4 by 4 a module, as a camera sees them.
        let (pixels, whole) = (4, rows.len());
        let grey = |x: usize, y: usize| {
            let dark = rows[y / pixels].get(x / pixels * 2..).is_some_and(|rest| rest.starts_with('#'));
            if dark { 0 } else { 255 }
        };
        let mut seen = rqrr::PreparedImage::prepare_from_greyscale(whole * pixels, whole * pixels, grey);
        let found = seen.detect_grids();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].decode().unwrap().1, text);
    }

    #[test]
    fn a_key_fits_a_terminal() {
        let text = "x".repeat(240);
        let drawn = draw(&text, Drawing::Colours).unwrap();
        assert!(drawn.lines().count() <= 36, "{}", drawn.lines().count());
        assert!(draw(&"x".repeat(5000), Drawing::Ascii).is_none());
    }
}
