//! A table, and its forms: Markdown, CSV, LaTeX, HTML, JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// A table with a title and notes.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Name of its files.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// What a reader must know to judge it: a sentence or more each.
    pub notes: Vec<String>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, each with a cell for every column.
    pub rows: Vec<Row>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading, unique in the table.
    pub name: String,
    /// Decimal places of its numbers.
    pub decimals: usize,
    /// Whether a number has its sign even if it is positive.
    pub signed: bool,
}

impl Column {
    /// A column of text or of numbers with `decimals` places.
    pub fn new(name: impl Into<String>, decimals: usize) -> Self {
        Column { name: name.into(), decimals, signed: false }
    }

    /// A column of differences with `decimals` places.
    pub fn difference(name: impl Into<String>, decimals: usize) -> Self {
        Column { signed: true, ..Column::new(name, decimals) }
    }

    fn number(&self, value: f64) -> String {
        let decimals = self.decimals;
        let text = if self.signed { format!("{value:+.decimals$}") } else { format!("{value:.decimals$}") };
        // No minus before what rounds to nothing.
        let zero = text.strip_prefix('-').filter(|rest| rest.bytes().all(|b| matches!(b, b'0' | b'.')));
        zero.map_or(text.clone(), |rest| if self.signed { format!("+{rest}") } else { rest.to_owned() })
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Heading of the block that begins with this row.
    pub heading: Option<String>,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// What stands in one place.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number.
    Number {
        /// The number, or the mean of several.
        value: f64,
        /// Standard deviation of what it is the mean of.
        spread: Option<f64>,
        /// Whether it is the best of its block.
        best: bool,
    },
    /// Nothing is known.
    Missing,
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }

    /// A number, where there is one.
    pub fn number(value: Option<f64>) -> Self {
        value.map_or(Cell::Missing, |value| Cell::Number { value, spread: None, best: false })
    }

    /// The number.
    pub fn value(&self) -> Option<f64> {
        match self {
            Cell::Number { value, .. } => Some(*value),
            _ => None,
        }
    }
}

/// How the parts of a cell are written.
struct Style {
    plus_minus: &'static str,
    best: [&'static str; 2],
    missing: &'static str,
    escape: fn(&str) -> String,
}

impl Table {
    /// A table without rows.
    pub fn new(name: impl Into<String>, title: impl Into<String>, columns: Vec<Column>) -> Self {
        Table { name: name.into(), title: title.into(), notes: Vec::new(), columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, heading: Option<String>, cells: Vec<Cell>) {
        self.rows.push(Row { heading, cells });
    }

    /// Marks the largest number of `column` among `rows`, by its mean; nothing where there are fewer than two.
    pub fn mark_best(&mut self, column: usize, rows: std::ops::Range<usize>) {
        let numbers = || self.rows[rows.clone()].iter().filter_map(|row| row.cells[column].value());
        if numbers().count() < 2 {
            return;
        }
        let highest = numbers().fold(f64::NEG_INFINITY, f64::max);
        for row in &mut self.rows[rows] {
            if let Cell::Number { value, best, .. } = &mut row.cells[column] {
                *best = *value >= highest;
            }
        }
    }

    fn cell(&self, row: &Row, column: usize, style: &Style) -> String {
        let as_number = |value| self.columns[column].number(value);
        match &row.cells[column] {
            Cell::Text(text) => (style.escape)(text),
            Cell::Missing => style.missing.into(),
            Cell::Number { value, spread, best } => {
                let [before, after] = if *best { style.best } else { ["", ""] };
                let number = format!("{before}{}{after}", (style.escape)(&as_number(*value)));
                match spread {
                    Some(spread) => {
                        format!("{number}{}{:.*}", style.plus_minus, self.columns[column].decimals, spread)
                    }
                    None => number,
                }
            }
        }
    }

    /// True where a column holds numbers, which are set to the right.
    fn is_numeric(&self, column: usize) -> bool {
        !self.rows.iter().any(|row| matches!(row.cells[column], Cell::Text(_)))
    }

    /// Title, table and notes in GitHub's Markdown.
    pub fn markdown(&self) -> String {
        let style = Style {
            plus_minus: " ± ",
            best: ["**", "**"],
            missing: "-",
            escape: |text| text.replace('|', "\\|").replace('_', "\\_").replace('*', "\\*"),
        };
        let columns = 0..self.columns.len();
        let mut text = format!("### {}\n\n|", self.title);
        for column in &self.columns {
            let _ = write!(text, " {} |", (style.escape)(&column.name));
        }
        text.push_str("\n|");
        for column in columns.clone() {
            text.push_str(if self.is_numeric(column) { " ---: |" } else { " :--- |" });
        }
        text.push('\n');
        for row in &self.rows {
            if let Some(heading) = &row.heading {
                let rest = " |".repeat(self.columns.len());
                let _ = writeln!(text, "| *{}*{rest}", (style.escape)(heading));
            }
            text.push('|');
            for column in columns.clone() {
                let _ = write!(text, " {} |", self.cell(row, column, &style));
            }
            text.push('\n');
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }

    /// Numbers alone, with a column for the spread where there is any; missing ones are empty.
    pub fn csv(&self) -> String {
        let quoted = |text: &str| match text.contains([',', '"', '\n']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        };
        let spread: Vec<bool> = (0..self.columns.len())
            .map(|column| {
                let has = |row: &Row| matches!(row.cells[column], Cell::Number { spread: Some(_), .. });
                self.rows.iter().any(has)
            })
            .collect();
        let blocks = self.rows.iter().any(|row| row.heading.is_some());
        let mut header: Vec<String> = if blocks { vec!["block".into()] } else { Vec::new() };
        for (column, spread) in self.columns.iter().zip(&spread) {
            header.push(quoted(&column.name));
            header.extend(spread.then(|| quoted(&format!("{} sd", column.name))));
        }
        let mut text = header.join(",") + "\n";
        let mut block = "";
        for row in &self.rows {
            block = row.heading.as_deref().unwrap_or(block);
            let mut fields: Vec<String> = if blocks { vec![quoted(block)] } else { Vec::new() };
            for (cell, &has_spread) in row.cells.iter().zip(&spread) {
                let (value, spread) = match cell {
                    Cell::Text(text) => (quoted(text), String::new()),
                    Cell::Missing => Default::default(),
                    Cell::Number { value, spread, .. } => {
                        (value.to_string(), spread.map(|s| s.to_string()).unwrap_or_default())
                    }
                };
                fields.push(value);
                fields.extend(has_spread.then_some(spread));
            }
            text += &(fields.join(",") + "\n");
        }
        text
    }

    /// A `table` of LaTeX, as wide as the text where it would be wider; its first line names the packages.
    pub fn latex(&self) -> String {
        let style =
            Style { plus_minus: " $\\pm$ ", best: ["\\textbf{", "}"], missing: "--", escape: latex_escaped };
        let columns = 0..self.columns.len();
        let layout: String = columns.clone().map(|c| if self.is_numeric(c) { 'r' } else { 'l' }).collect();
        // Table 2 has thirteen columns: what is wider than a line is made as wide as one, and nothing else changes.
        let mut text = format!(
            "% Needs the packages booktabs (rules) and graphicx (\\resizebox: what is wider than a line is made to fit it).\n\
             \\begin{{table}}\n\\centering\n\\caption{{{}. {}}}\n\\label{{tab:{}}}\n\
             \\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n\
             \\begin{{tabular}}{{{layout}}}\n\\toprule\n",
            latex_escaped(&self.title),
            latex_escaped(&self.notes.join(" ")),
            self.name,
        );
        let line = |cells: Vec<String>| cells.join(" & ") + " \\\\\n";
        text += &line(self.columns.iter().map(|column| latex_escaped(&column.name)).collect());
        text += "\\midrule\n";
        for (position, row) in self.rows.iter().enumerate() {
            if let Some(heading) = &row.heading {
                if position > 0 {
                    text += "\\midrule\n";
                }
                let width = self.columns.len();
                let heading = latex_escaped(heading);
                let _ = writeln!(text, "\\multicolumn{{{width}}}{{l}}{{\\emph{{{heading}}}}} \\\\");
            }
            text += &line(columns.clone().map(|column| self.cell(row, column, &style)).collect());
        }
        text + "\\bottomrule\n\\end{tabular}}\n\\end{table}\n"
    }

    /// A `figure` element with table and notes.
    pub fn html(&self) -> String {
        let style = Style {
            plus_minus: " <span class=\"spread\">± ",
            best: ["<b>", "</b>"],
            missing: "–",
            escape: html_escaped,
        };
        let columns = 0..self.columns.len();
        let mut text = format!(
            "<figure class=\"table\" id=\"{}\">\n<figcaption>{}</figcaption>\n<div class=\"scroll\"><table>\n<thead><tr>",
            self.name,
            html_escaped(&self.title)
        );
        for (position, column) in self.columns.iter().enumerate() {
            let class = if self.is_numeric(position) { " class=\"number\"" } else { "" };
            let _ = write!(text, "<th{class}>{}</th>", html_escaped(&column.name));
        }
        text += "</tr></thead>\n<tbody>\n";
        for row in &self.rows {
            if let Some(heading) = &row.heading {
                let (width, heading) = (self.columns.len(), html_escaped(heading));
                let _ = writeln!(text, "<tr class=\"block\"><th colspan=\"{width}\">{heading}</th></tr>");
            }
            text += "<tr>";
            for column in columns.clone() {
                let class = if self.is_numeric(column) { " class=\"number\"" } else { "" };
                let close = match &row.cells[column] {
                    Cell::Number { spread: Some(_), .. } => "</span>",
                    _ => "",
                };
                let _ = write!(text, "<td{class}>{}{close}</td>", self.cell(row, column, &style));
            }
            text += "</tr>\n";
        }
        text += "</tbody></table></div>\n";
        for note in &self.notes {
            let _ = writeln!(text, "<p class=\"note\">{}</p>", html_escaped(note));
        }
        text + "</figure>\n"
    }

    /// Title, notes, and rows as objects whose keys are the columns; a number is `{ value, spread }`.
    pub fn json(&self) -> Value {
        let mut block = Value::Null;
        let row = |row: &Row| {
            if let Some(heading) = &row.heading {
                block = heading.as_str().into();
            }
            let mut object = Map::new();
            object.insert("block".into(), block.clone());
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                let value = match cell {
                    Cell::Text(text) => text.as_str().into(),
                    Cell::Missing => Value::Null,
                    Cell::Number { value, spread, .. } => json!({ "value": value, "spread": spread }),
                };
                object.insert(column.name.clone(), value);
            }
            Value::Object(object)
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({ "name": self.name, "title": self.title, "notes": self.notes, "rows": rows })
    }
}

/// Text that HTML shows as it is.
pub(super) fn html_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn latex_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', letter]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("$<$"),
            '>' => escaped.push_str("$>$"),
            '≤' => escaped.push_str("$\\leq$"),
            '±' => escaped.push_str("$\\pm$"),
            '–' => escaped.push_str("--"),
            'α' => escaped.push_str("$\\alpha$"),
            'β' => escaped.push_str("$\\beta$"),
            'τ' => escaped.push_str("$\\tau$"),
            'σ' => escaped.push_str("$\\sigma$"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let columns =
            vec![Column::new("System", 0), Column::new("HR", 4), Column::difference("difference", 4)];
        let mut table = Table::new("t", "Title_1", columns);
        table.notes.push("One seed & no more.".into());
        let number = |value, spread| Cell::Number { value, spread, best: false };
        table.push(
            Some("as trained".into()),
            vec![Cell::text("a_b"), number(0.25, Some(0.5)), Cell::number(Some(-0.00001))],
        );
        table.push(None, vec![Cell::text("c, d"), number(0.5, None), Cell::Missing]);
        table.mark_best(1, 0..2);
        table.mark_best(2, 0..2);
        table
    }

    /// Braces that LaTeX finds open at the end; escaped ones and those of comments are none.
    fn unclosed(latex: &str) -> i32 {
        let mut depth = 0;
        for line in latex.lines() {
            let mut letters = line.chars();
            while let Some(letter) = letters.next() {
                match letter {
                    '\\' => drop(letters.next()),
                    '%' => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                assert!(depth >= 0, "closed before it was opened: {line}");
            }
        }
        depth
    }

    #[test]
    fn every_form_says_the_same() {
        let mut table = sample();
        table.notes.push("{50 % and a \\".into());
        let markdown = table.markdown();
        assert!(
            markdown.starts_with("### Title_1\n\n| System | HR | difference |\n| :--- | ---: | ---: |\n")
        );
        assert!(markdown.contains("| a\\_b | 0.2500 ± 0.5000 | +0.0000 |\n"), "{markdown}");
        assert!(markdown.contains("| c, d | **0.5000** | - |\n"), "{markdown}");
        let csv =
            "block,System,HR,HR sd,difference\nas trained,a_b,0.25,0.5,-0.00001\nas trained,\"c, d\",0.5,,\n";
        assert_eq!(table.csv(), csv);
        let latex = table.latex();
        assert!(latex.contains("a\\_b & 0.2500 $\\pm$ 0.5000 & +0.0000 \\\\\n"), "{latex}");
        assert!(latex.contains("c, d & \\textbf{0.5000} & -- \\\\\n") && latex.contains("seed \\& no"));
        assert_eq!(unclosed(&latex), 0, "{latex}");
        assert!(
            latex.contains("{!}{%\n\\begin{tabular}") && latex.ends_with("\\end{tabular}}\n\\end{table}\n")
        );
        let html = table.html();
        assert!(html.contains("<b>0.5000</b>") && html.contains("One seed &amp; no more."), "{html}");
        let json = table.json();
        assert_eq!(json["rows"][0]["HR"]["spread"], 0.5);
        assert_eq!(
            (&json["rows"][1]["difference"], &json["rows"][1]["block"]),
            (&Value::Null, &"as trained".into())
        );
    }
}
