//! Columns as Go's `text/tabwriter` lays them out: a column is as wide as the widest of the neighbouring lines that have it.

/// Lays out text whose cells end in tabs. The last cell of a line is not part of a column.
pub fn align(text: &str, min_width: usize, padding: usize) -> String {
    let mut lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    // What follows the last line end is no line.
    if lines.last().is_some_and(|line| line.len() == 1 && line[0].is_empty()) {
        lines.pop();
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut widths = Vec::new();
    Layout { lines: &lines, min_width, padding }.block(0, lines.len(), &mut widths, &mut out);
    out
}

struct Layout<'a> {
    lines: &'a [Vec<&'a str>],
    min_width: usize,
    padding: usize,
}

impl Layout<'_> {
    /// Prints lines `from..to`, of which the first `widths.len()` columns are settled.
    fn block(&self, from: usize, to: usize, widths: &mut Vec<usize>, out: &mut String) {
        let column = widths.len();
        let has_column = |line: usize| self.lines[line].len() > column + 1;
        let mut at = from;
        while at < to {
            if !has_column(at) {
                self.write(at, widths, out);
                at += 1;
                continue;
            }
            let end = (at..to).find(|line| !has_column(*line)).unwrap_or(to);
            let widest = (at..end).map(|line| self.lines[line][column].chars().count()).max().unwrap_or(0);
            widths.push((widest + self.padding).max(self.min_width));
            self.block(at, end, widths, out);
            widths.pop();
            at = end;
        }
    }

    fn write(&self, line: usize, widths: &[usize], out: &mut String) {
        for (column, cell) in self.lines[line].iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(column)
                && column + 1 < self.lines[line].len()
            {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
}

/// Columns of a table whose widths only grow: what a watch prints line after line.
#[derive(Debug, Default)]
pub struct Columns {
    widths: Vec<usize>,
}

impl Columns {
    /// The rows, three spaces between columns, at least six wide.
    pub fn rows(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            self.widths.resize(self.widths.len().max(row.len()), 6);
            for (width, cell) in self.widths.iter_mut().zip(&row[..row.len().saturating_sub(1)]) {
                *width = (*width).max(cell.chars().count() + 3);
            }
        }
        let mut out = String::new();
        for row in rows {
            for (column, cell) in row.iter().enumerate() {
                out.push_str(cell);
                if column + 1 < row.len() {
                    out.extend(std::iter::repeat_n(' ', self.widths[column].saturating_sub(cell.chars().count())));
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_span_neighbouring_lines() {
        assert_eq!(align("a:\tb\nlong:\tc\nx\nq:\tr\n", 0, 2), "a:     b\nlong:  c\nx\nq:  r\n");
        assert_eq!(align("NAME\tAGE\na\t1\n", 6, 3), "NAME   AGE\na      1\n");
    }

    #[test]
    fn widths_grow() {
        let row = |cells: &[&str]| cells.iter().map(|cell| cell.to_string()).collect::<Vec<_>>();
        let mut columns = Columns::default();
        assert_eq!(columns.rows(&[row(&["NAME", "AGE"]), row(&["a-long-name", "1s"])]), "NAME          AGE\na-long-name   1s\n");
        assert_eq!(columns.rows(&[row(&["b", "2s"])]), "b             2s\n");
    }
}
