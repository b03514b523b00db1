//! As much Markdown as the rules need: tables, links and headings.
//!
//! Fenced code and code spans are no links, and a `|` inside a code span does not end a cell.

/// A table: its header cells, and its rows with their line numbers.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<(usize, Vec<String>)>,
}

/// Every table of a text.
pub(crate) fn tables(text: &str) -> Vec<Table> {
    let mut found: Vec<Table> = Vec::new();
    let mut in_table = false;
    for (line, row) in prose(text) {
        if !row.trim_start().starts_with('|') {
            in_table = false;
            continue;
        }
        let cells = cells(row.trim());
        if !in_table {
            found.push(Table { header: cells, rows: Vec::new() });
            in_table = true;
        } else if !cells.iter().all(|cell| cell.chars().all(|c| ":- ".contains(c))) {
            let table = found.len() - 1;
            found[table].rows.push((line, cells));
        }
    }
    found
}

/// Lines outside fenced code, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((i + 1, line))
    })
}

fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut in_code = false;
    let mut escaped = false;
    for c in row.chars() {
        in_code ^= c == '`';
        if c == '|' && !in_code && !escaped {
            cells.push(String::new());
        } else if let Some(cell) = cells.last_mut() {
            cell.push(c);
        }
        escaped = c == '\\';
    }
    // A row begins and ends with a bar.
    cells.remove(0);
    if cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().to_string()).collect()
}

/// What the first code span of a cell holds; the cell itself when it has none.
pub(crate) fn cell_code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or(cell)
}

/// Targets of the links of a text, with their line numbers.
pub(crate) fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, row) in prose(text) {
        let plain: String = row.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        for (at, _) in plain.match_indices("](") {
            let target = plain[at + 2..].split(')').next().unwrap_or_default();
            let target = target.split_whitespace().next().unwrap_or_default();
            found.push((line, target.to_string()));
        }
    }
    found
}

/// The anchors of a text's headings, as web hosts derive them.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let slug = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(|(_, heading)| slug(heading)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_split_into_cells() {
        let text =
            "x\n\n| A | B |\n|---|---|\n| `a|b` | c \\| d |\n| e | |\n\n```\n| no | no |\n```\n";
        let found = tables(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].header, ["A", "B"]);
        assert_eq!(found[0].rows[0], (5, vec!["`a|b`".to_string(), "c \\| d".to_string()]));
        assert_eq!(found[0].rows.len(), 2);
        assert_eq!(cell_code("`x` y"), "x");
    }

    #[test]
    fn links_outside_code() {
        let text = "[a](b.md) `[c](d.md)` ![e](f.png \"t\")\n```\n[g](h.md)\n```\n[i](#j)\n";
        let targets: Vec<_> = links(text).into_iter().map(|(_, target)| target).collect();
        assert_eq!(targets, ["b.md", "f.png", "#j"]);
    }

    #[test]
    fn anchors_of_headings() {
        assert_eq!(anchors("# A `b`, c\n## 2. The tick\n"), ["a-b-c", "2-the-tick"]);
    }
}
