//! Colour where a terminal shows it, plain text elsewhere.

use std::fmt::Display;
use std::io::Write;

use anstyle::{AnsiColor, Style};

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub(super) const STRONG: Style = Style::new().bold();

/// Text in a style.
pub(super) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// One line on standard output. Whoever reads it may have left (`| head`): that is no failure of ours.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// One complaint on standard error.
pub(super) fn complain(message: &str) {
    let _ = writeln!(anstream::stderr(), "{} {message}", styled(BAD, "error:"));
}
