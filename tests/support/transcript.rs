//! What a command printed, without what differs from run to run: times, server identities, sizes of servers, and the
//! table of what was moved.

/// The text without what differs from run to run.
pub(crate) fn steady(text: &str) -> String {
    let mut lines = Vec::new();
    let mut in_moved = false;
    for line in text.lines() {
        // The frame's top is kept back until the head tells which table it is.
        if line.contains("commands ┆") {
            lines.pop();
            in_moved = true;
        }
        if !in_moved {
            lines.push(steady_line(line));
        }
        in_moved &= !line.starts_with('╰');
    }
    lines.join("\n")
}

fn steady_line(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let is_identity = word.len() == 41 && word.ends_with(',');
        let is_time = word.starts_with("20") && word.ends_with('Z') && word.contains('T');
        match () {
            () if is_identity => "RUN_ID,",
            () if is_time => "TIME",
            () => word,
        }
    });
    let line = words.collect::<Vec<_>>().join(" ");
    if line.starts_with("took ") {
        "took SOME TIME".into()
    } else if line.contains(" memory, clock ") {
        "  FACTS".into()
    } else if line.starts_with("a run would read") {
        "ESTIMATE".into()
    } else {
        line
    }
}
