//! What a candidate's sequences are weak in, as lines: two for each weakness, and how to accept it.

use core::fmt::Write;

use postern_config::{Site, weakness};

use super::site_lines::SiteLine;

/// How a door accepts what is said of it.
const ACCEPT: &str = "`set door NAME allow FINDING...` accepts what stands in brackets.";

/// Calls `take` with each line about every door, or that of this position, until it returns `false`. Nothing when
/// there is no weakness.
pub fn for_each(site: &Site, door: Option<usize>, take: &mut dyn FnMut(&str) -> bool) {
    let (mut line, mut said, mut go_on) = (SiteLine::new(), false, true);
    let wanted = door.map(|door| site.doors.get(door).map_or("", |door| door.name.as_str()));
    weakness::for_each(site, |door, weakness| {
        if wanted.is_some_and(|wanted| wanted != door.name) {
            return;
        }
        said = true;
        line.clear();
        let _ = write!(line, "door {}: {weakness}", door.name);
        go_on = go_on && take(&line);
        line.clear();
        let _ = write!(line, "  {} [{}]", weakness.suggestion(), weakness.code());
        go_on = go_on && take(&line);
    });
    if said && go_on {
        take(ACCEPT);
    }
}
