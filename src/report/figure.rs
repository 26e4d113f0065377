//! A figure: panels of lines over an axis of numbers or of groups.

use serde_json::{Value, json};

use super::canvas::{Align, Drawing, Label, Marker, RGBColor, width};
use crate::error::Result;

const INK: RGBColor = RGBColor(38, 38, 38);
const GRID: RGBColor = RGBColor(228, 228, 228);
const BARS: RGBColor = RGBColor(219, 224, 230);
const BARS_INK: RGBColor = RGBColor(110, 120, 132);

/// Size of letters.
const TEXT: f64 = 11.0;
const SMALL: f64 = 10.0;
/// Outer width of a panel: two fill a page of 7 inches, and so do three narrow ones.
const WIDE: f64 = 340.0;
const NARROW: f64 = 227.0;
/// Height of a panel, and what is left of it around the plot.
const HEIGHT: f64 = 236.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 14.0;
const RIGHT_WITH_BARS: f64 = 48.0;
const TOP: f64 = 10.0;
const TITLE: f64 = 20.0;
const BOTTOM: f64 = 42.0;
const LEGEND_LINE: f64 = 17.0;

/// Colours that people with every kind of colour vision can tell apart (Okabe and Ito), each with a marker of its own.
const STYLES: [(RGBColor, Marker); 7] = [
    (RGBColor(0, 114, 178), Marker::Circle),
    (RGBColor(213, 94, 0), Marker::Square),
    (RGBColor(0, 158, 115), Marker::Triangle),
    (RGBColor(204, 121, 167), Marker::Diamond),
    (RGBColor(230, 159, 0), Marker::Circle),
    (RGBColor(86, 180, 233), Marker::Square),
    (RGBColor(120, 94, 60), Marker::Triangle),
];

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Name of its files.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// What a reader must know to judge it.
    pub caption: String,
    /// Side by side.
    pub panels: Vec<Panel>,
}

/// One plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Its title, where there are several.
    pub title: Option<String>,
    /// What the lines go over.
    pub x: Horizontal,
    /// What they show, with its unit.
    pub y: String,
    /// Lines.
    pub series: Vec<Series>,
    /// Bars behind the lines, one for each group, with an axis of their own on the right.
    pub bars: Option<Bars>,
}

/// The horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub enum Horizontal {
    /// A scale.
    Numbers {
        /// What it is, with its unit.
        label: String,
    },
    /// Named places; a series has a point for each, in this order, at 0, 1, 2, ...
    Groups {
        /// What they are.
        label: String,
        /// Their names.
        names: Vec<String>,
    },
}

/// Bars behind the lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// What they show.
    pub label: String,
    /// Their heights.
    pub values: Vec<f64>,
}

/// A line with marks.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Which colour and marker; lines of one system have the same in all figures. `None` is a dashed line without
    /// marks.
    pub style: Option<usize>,
    /// Its points by ascending x; a missing y interrupts it.
    pub points: Vec<(f64, Option<f64>)>,
}

impl Figure {
    /// The figure as a document of SVG.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        self.drawing().svg()
    }

    /// The figure as a PNG.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn png(&self) -> Result<Vec<u8>> {
        self.drawing().png()
    }

    /// The numbers behind the figure.
    pub fn json(&self) -> Value {
        let panels: Vec<Value> = self
            .panels
            .iter()
            .map(|panel| {
                let (label, names) = match &panel.x {
                    Horizontal::Numbers { label } => (label, None),
                    Horizontal::Groups { label, names } => (label, Some(names)),
                };
                let series: Vec<Value> = panel
                    .series
                    .iter()
                    .map(|series| json!({ "name": series.name, "points": series.points }))
                    .collect();
                let bars =
                    panel.bars.as_ref().map(|bars| json!({ "label": bars.label, "values": bars.values }));
                json!({
                    "title": panel.title, "x": label, "groups": names, "y": panel.y, "series": series,
                    "bars": bars,
                })
            })
            .collect();
        json!({ "name": self.name, "title": self.title, "caption": self.caption, "panels": panels })
    }

    fn drawing(&self) -> Drawing {
        let each = if self.panels.len() > 2 { NARROW } else { WIDE };
        let total = each * self.panels.len() as f64;
        let mut legend: Vec<(&str, Option<usize>)> = Vec::new();
        for series in self.panels.iter().flat_map(|panel| &panel.series) {
            if !legend.iter().any(|(name, _)| *name == series.name) {
                legend.push((&series.name, series.style));
            }
        }
        // What is no system comes last.
        legend.sort_by_key(|(_, style)| style.is_none());
        let lines = legend_lines(&legend, total - LEFT - RIGHT);
        let titles = if self.panels.iter().any(|panel| panel.title.is_some()) { TITLE } else { 0.0 };
        let above = TOP + LEGEND_LINE * lines.len() as f64 + titles;
        let mut drawing = Drawing::new(total, above + HEIGHT);
        for (row, line) in lines.iter().enumerate() {
            let y = TOP + LEGEND_LINE * (row as f64 + 0.35);
            let mut x = LEFT;
            for &(name, style) in line {
                entry(&mut drawing, (x, y), name, style);
                x += entry_width(name);
            }
        }
        for (position, panel) in self.panels.iter().enumerate() {
            panel.draw(&mut drawing, (position as f64 * each, above), each);
        }
        drawing
    }
}

/// Room for an entry, with some to spare: SVG is shown in a font of the reader's, which may be wider.
fn entry_width(name: &str) -> f64 {
    28.0 + 1.15 * width(name, SMALL) + 12.0
}

/// Entries in as many lines as they need.
fn legend_lines<'a>(entries: &[(&'a str, Option<usize>)], room: f64) -> Vec<Vec<(&'a str, Option<usize>)>> {
    let mut lines: Vec<Vec<(&str, Option<usize>)>> = Vec::new();
    let mut left = 0.0;
    for &(name, style) in entries {
        let needed = entry_width(name);
        match lines.last_mut().filter(|_| needed <= left) {
            Some(line) => line.push((name, style)),
            None => {
                lines.push(vec![(name, style)]);
                left = room;
            }
        }
        left -= needed;
    }
    lines
}

fn entry(drawing: &mut Drawing, (x, y): (f64, f64), name: &str, style: Option<usize>) {
    let ends = [(x, y), (x + 22.0, y)];
    match style.map(|style| STYLES[style % STYLES.len()]) {
        Some((color, marker)) => {
            drawing.line(ends.to_vec(), color, 1.5);
            drawing.marker((x + 11.0, y), marker, color);
        }
        None => drawing.dashed(&ends, INK, 1.2),
    }
    text(drawing, name, (x + 28.0, y), SMALL, Align::Left, INK);
}

fn text(drawing: &mut Drawing, words: &str, at: (f64, f64), size: f64, align: Align, color: RGBColor) {
    let label = Label { text: words.into(), at, size, align, bold: false, upright: false };
    drawing.text(label, color);
}

/// A scale from a least to a greatest number, with marks at round ones.
#[derive(Debug, Clone, PartialEq)]
struct Scale {
    from: f64,
    to: f64,
    step: f64,
}

impl Scale {
    /// About `marks` steps of 1, 2 or 5 times a power of ten, from 0 where that wastes less than half.
    fn over(values: impl Iterator<Item = f64>, marks: f64) -> Self {
        let (mut least, mut most) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        if least > most {
            (least, most) = (0.0, 1.0);
        }
        if least > 0.0 && (least < 0.5 * most || least == most) {
            least = 0.0;
        }
        let span = if most > least { most - least } else { 1.0 };
        let power = 10f64.powf((span / marks).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| span / step <= marks)
            .unwrap_or(10.0 * power);
        let (from, mut to) = ((least / step + 1e-9).floor() * step, (most / step - 1e-9).ceil() * step);
        if to <= from {
            to = from + step;
        }
        Scale { from, to, step }
    }

    fn marks(&self) -> Vec<f64> {
        let count = ((self.to - self.from) / self.step).round() as usize;
        (0..=count).map(|k| self.from + k as f64 * self.step).collect()
    }

    fn part(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    fn name(&self, mark: f64) -> String {
        let decimals = (-self.step.log10() - 1e-9).ceil().max(0.0) as usize;
        let text = format!("{mark:.decimals$}");
        let zero = text.bytes().all(|b| matches!(b, b'-' | b'0' | b'.'));
        // Thousands apart: 12 000.
        let digits = text.trim_start_matches('-');
        if zero {
            return digits.to_owned();
        }
        if decimals == 0 && digits.len() > 4 {
            let sign = &text[..text.len() - digits.len()];
            let head = digits.len() - 3;
            return format!("{sign}{}\u{a0}{}", &digits[..head], &digits[head..]);
        }
        text.replace('-', "\u{2212}")
    }
}

impl Panel {
    fn draw(&self, drawing: &mut Drawing, (x0, y0): (f64, f64), width: f64) {
        let right = if self.bars.is_some() { RIGHT_WITH_BARS } else { RIGHT };
        let (left, right) = (x0 + LEFT, x0 + width - right);
        let (top, bottom) = (y0 + 6.0, y0 + HEIGHT - BOTTOM);
        if let Some(title) = &self.title {
            let at = (0.5 * (left + right), y0 - 0.5 * TITLE + 3.0);
            let label = Label {
                text: title.clone(),
                at,
                size: TEXT,
                align: Align::Center,
                bold: true,
                upright: false,
            };
            drawing.text(label, INK);
        }
        let points = || self.series.iter().flat_map(|series| &series.points);
        let y_scale = Scale::over(points().filter_map(|point| point.1), 6.0);
        let y = |value: f64| bottom - (bottom - top) * y_scale.part(value);
        for mark in y_scale.marks() {
            if mark > y_scale.from {
                drawing.line(vec![(left, y(mark)), (right, y(mark))], GRID, 0.75);
            }
        }
        if let (Some(bars), Horizontal::Groups { names, .. }) = (&self.bars, &self.x) {
            bars.draw(drawing, names.len(), [left, right], [top, bottom]);
        }
        for mark in y_scale.marks() {
            drawing.line(vec![(left - 4.0, y(mark)), (left, y(mark))], INK, 0.75);
            text(drawing, &y_scale.name(mark), (left - 7.0, y(mark)), SMALL, Align::Right, INK);
        }
        upright(drawing, &self.y, (x0 + 10.0, 0.5 * (top + bottom)), INK);

        let x: Box<dyn Fn(f64) -> f64> = match &self.x {
            Horizontal::Groups { label, names } => {
                let slot = (right - left) / names.len().max(1) as f64;
                let at = move |place: f64| left + (place + 0.5) * slot;
                for (place, name) in names.iter().enumerate() {
                    text(drawing, name, (at(place as f64), bottom + 12.0), SMALL, Align::Center, INK);
                }
                self.x_label(drawing, label, [left, right], bottom);
                Box::new(at)
            }
            Horizontal::Numbers { label } => {
                let scale = Scale::over(points().map(|point| point.0), 7.0);
                let at = {
                    let scale = scale.clone();
                    move |value: f64| left + 6.0 + (right - left - 12.0) * scale.part(value)
                };
                for mark in scale.marks() {
                    drawing.line(vec![(at(mark), bottom), (at(mark), bottom + 4.0)], INK, 0.75);
                    text(drawing, &scale.name(mark), (at(mark), bottom + 12.0), SMALL, Align::Center, INK);
                }
                self.x_label(drawing, label, [left, right], bottom);
                Box::new(at)
            }
        };
        drawing.line(vec![(left, top), (left, bottom), (right, bottom)], INK, 0.75);
        for series in &self.series {
            series.draw(drawing, &x, &y);
        }
    }

    fn x_label(&self, drawing: &mut Drawing, label: &str, [left, right]: [f64; 2], bottom: f64) {
        text(drawing, label, (0.5 * (left + right), bottom + 31.0), TEXT, Align::Center, INK);
    }
}

fn upright(drawing: &mut Drawing, words: &str, at: (f64, f64), color: RGBColor) {
    let label =
        Label { text: words.into(), at, size: TEXT, align: Align::Center, bold: false, upright: true };
    drawing.text(label, color);
}

impl Bars {
    fn draw(&self, drawing: &mut Drawing, groups: usize, [left, right]: [f64; 2], [top, bottom]: [f64; 2]) {
        let scale = Scale::over(self.values.iter().copied().chain([0.0]), 5.0);
        let y = |value: f64| bottom - (bottom - top) * scale.part(value);
        let slot = (right - left) / groups.max(1) as f64;
        for (place, &value) in self.values.iter().enumerate() {
            let middle = left + (place as f64 + 0.5) * slot;
            drawing.rectangle((middle - 0.3 * slot, y(value)), (middle + 0.3 * slot, bottom), BARS);
        }
        drawing.line(vec![(right, top), (right, bottom)], BARS_INK, 0.75);
        for mark in scale.marks() {
            drawing.line(vec![(right, y(mark)), (right + 4.0, y(mark))], BARS_INK, 0.75);
            text(drawing, &scale.name(mark), (right + 7.0, y(mark)), SMALL, Align::Left, BARS_INK);
        }
        upright(drawing, &self.label, (right + RIGHT_WITH_BARS - 10.0, 0.5 * (top + bottom)), BARS_INK);
    }
}

impl Series {
    fn draw(&self, drawing: &mut Drawing, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) {
        let whole = self.points.split(|point| point.1.is_none());
        let runs: Vec<Vec<(f64, f64)>> = whole
            .map(|run| run.iter().filter_map(|&(at, value)| Some((x(at), y(value?)))).collect::<Vec<_>>())
            .filter(|run| !run.is_empty())
            .collect();
        let Some((color, marker)) = self.style.map(|style| STYLES[style % STYLES.len()]) else {
            runs.iter().for_each(|run| drawing.dashed(run, INK, 1.2));
            return;
        };
        for run in &runs {
            drawing.line(run.clone(), color, 1.5);
        }
        // Marks on every point hide a line of many.
        let every = self.points.len().div_ceil(12).max(1);
        for point in runs.iter().flat_map(|run| run.iter().step_by(every)) {
            drawing.marker(*point, marker, color);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_round_marks_and_hold_their_values() {
        let scale = Scale::over([0.03, 0.14].into_iter(), 6.0);
        assert_eq!((scale.from, scale.step), (0.0, 0.05));
        assert!((scale.to - 0.15).abs() < 1e-12);
        assert_eq!(
            scale.marks().iter().map(|&m| scale.name(m)).collect::<Vec<_>>(),
            ["0.00", "0.05", "0.10", "0.15"]
        );
        let scale = Scale::over([12_000.0, 7.0].into_iter(), 6.0);
        assert_eq!(scale.name(scale.to), "12\u{a0}000");
        for values in [vec![], vec![0.0], vec![3.0, 3.0], vec![-2.0, 5.0], vec![0.91, 0.93]] {
            let scale = Scale::over(values.iter().copied(), 6.0);
            assert!(scale.to > scale.from && scale.marks().len() <= 8, "{values:?}: {scale:?}");
            assert!(values.iter().all(|&v| v >= scale.from - 1e-9 && v <= scale.to + 1e-9), "{values:?}");
        }
    }

    #[test]
    fn legends_break_where_they_are_too_long() {
        let entries = [("one", None), ("another one", Some(0)), ("a third", Some(1))];
        assert_eq!(legend_lines(&entries, 1000.0).len(), 1);
        assert_eq!(legend_lines(&entries, 10.0).len(), 3);
    }
}
