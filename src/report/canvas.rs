//! A drawing as a list of shapes, and its forms: SVG and PNG.
//!
//! Lengths are in pixels of 1/96 inch. Text is set in Open Sans, which the program carries (`font/`), so that no font
//! of the system is needed; SVG names it as the reader's own sans-serif.

use std::sync::Once;

pub use plotters::style::RGBColor;
use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        FontTransform,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::error::{Error, Result};

const REGULAR: &[u8] = include_bytes!("font/OpenSans-Regular.ttf");
const SEMIBOLD: &[u8] = include_bytes!("font/OpenSans-Semibold.ttf");
const FAMILY: &str = "sans-serif";
/// Units of the backends, which know whole ones only, for a pixel. A PNG has as many pixels.
const UNITS: f64 = 4.0;
/// Lengths of a dash and of the gap after it.
const DASH: [f64; 2] = [4.0, 2.5];

/// A place, from the upper left corner.
pub type Point = (f64, f64);

/// A shape that marks a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// Where text stands beside its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Align {
    Left,
    Center,
    Right,
}

/// Text and how it is set; its middle is at the height of its point.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// The words.
    pub text: String,
    /// The point.
    pub at: Point,
    /// Height of the letters.
    pub size: f64,
    /// Where the point is.
    pub align: Align,
    /// Semibold.
    pub bold: bool,
    /// Reads from below.
    pub upright: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Line { points: Vec<Point>, color: RGBColor, width: f64 },
    Polygon { points: Vec<Point>, color: RGBColor },
    Circle { center: Point, radius: f64, color: RGBColor },
    Text { label: Label, color: RGBColor },
}

/// Shapes, the lowest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    width: f64,
    height: f64,
    shapes: Vec<Shape>,
}

impl Drawing {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Self {
        Drawing { width, height, shapes: Vec::new() }
    }

    /// A line through `points`.
    pub fn line(&mut self, points: Vec<Point>, color: RGBColor, width: f64) {
        self.shapes.push(Shape::Line { points, color, width });
    }

    /// A dashed line through `points`; the dashes go on around corners.
    pub fn dashed(&mut self, points: &[Point], color: RGBColor, width: f64) {
        let (mut rest, mut drawn) = (DASH[0], true);
        let mut dash = Vec::new();
        for pair in points.windows(2) {
            let ((x, y), (to_x, to_y)) = (pair[0], pair[1]);
            let length = f64::hypot(to_x - x, to_y - y);
            let mut done = 0.0;
            let at = |part: f64| (x + (to_x - x) * part / length, y + (to_y - y) * part / length);
            if drawn {
                dash.push((x, y));
            }
            while length - done > rest {
                done += rest;
                if drawn {
                    dash.push(at(done));
                    self.line(std::mem::take(&mut dash), color, width);
                } else {
                    dash.push(at(done));
                }
                drawn = !drawn;
                rest = DASH[usize::from(!drawn)];
            }
            rest -= length - done;
            if drawn && let Some(&last) = points.last().filter(|&&last| last == pair[1]) {
                dash.push(last);
                self.line(std::mem::take(&mut dash), color, width);
            }
        }
    }

    /// A filled rectangle between two corners.
    pub fn rectangle(&mut self, (left, top): Point, (right, bottom): Point, color: RGBColor) {
        let points = vec![(left, top), (right, top), (right, bottom), (left, bottom)];
        self.shapes.push(Shape::Polygon { points, color });
    }

    /// A filled mark about 6 pixels wide, on a white edge that sets it off from lines below.
    pub fn marker(&mut self, at: Point, marker: Marker, color: RGBColor) {
        for (radius, color) in [(4.2, WHITE), (3.2, color)] {
            let points = |corners: &[Point]| {
                corners.iter().map(|(x, y)| (at.0 + radius * x, at.1 + radius * y)).collect()
            };
            let corners: &[Point] = match marker {
                Marker::Circle => {
                    self.shapes.push(Shape::Circle { center: at, radius, color });
                    continue;
                }
                Marker::Square => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
                Marker::Triangle => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
                Marker::Diamond => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
            };
            self.shapes.push(Shape::Polygon { points: points(corners), color });
        }
    }

    /// Text.
    pub fn text(&mut self, label: Label, color: RGBColor) {
        self.shapes.push(Shape::Text { label, color });
    }

    /// As a document of SVG, for a file or to stand in HTML.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        let (width, height) = self.units();
        let mut text = String::new();
        self.draw(&SVGBackend::with_string(&mut text, (width, height)).into_drawing_area(), 0.0)?;
        // The backend's own size is in its units; the view box keeps them.
        let size = format!("width=\"{width}\" height=\"{height}\"");
        Ok(text.replacen(&size, &format!("width=\"{}\" height=\"{}\"", self.width, self.height), 1))
    }

    /// As a PNG of 384 pixels an inch.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = self.units();
        let mut pixels = vec![255; 3 * width as usize * height as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        // The backend takes the middle of the line, SVG that of the small letters.
        self.draw(&area, 0.1)?;
        drop(area);
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let per_meter = (96.0 * UNITS / 0.0254) as u32;
        encoder.set_pixel_dims(Some(png::PixelDimensions {
            xppu: per_meter,
            yppu: per_meter,
            unit: png::Unit::Meter,
        }));
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(file)
    }

    fn units(&self) -> (u32, u32) {
        ((self.width * UNITS).ceil() as u32, (self.height * UNITS).ceil() as u32)
    }

    /// `lower` is how far text is set below its point, in heights of its letters.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, lower: f64) -> Result<()> {
        with_fonts();
        let unit = |length: f64| (length * UNITS).round() as i32;
        let units = |points: &[Point]| points.iter().map(|&(x, y)| (unit(x), unit(y))).collect::<Vec<_>>();
        area.fill(&WHITE).map_err(failed)?;
        for shape in &self.shapes {
            match shape {
                Shape::Line { points, color, width } => {
                    let style = color.stroke_width(unit(*width).max(1) as u32);
                    area.draw(&PathElement::new(units(points), style)).map_err(failed)?;
                }
                Shape::Polygon { points, color } => {
                    area.draw(&Polygon::new(units(points), color.filled())).map_err(failed)?;
                }
                Shape::Circle { center, radius, color } => {
                    let center = (unit(center.0), unit(center.1));
                    area.draw(&Circle::new(center, unit(*radius), color.filled())).map_err(failed)?;
                }
                Shape::Text { label, color } => {
                    let style = if label.bold { FontStyle::Bold } else { FontStyle::Normal };
                    let mut font = FontDesc::new(FontFamily::SansSerif, label.size * UNITS, style);
                    if label.upright {
                        font = font.transform(FontTransform::Rotate270);
                    }
                    let align = match label.align {
                        Align::Left => HPos::Left,
                        Align::Center => HPos::Center,
                        Align::Right => HPos::Right,
                    };
                    let style = font.color(color).pos(Pos::new(align, VPos::Center));
                    let lower = lower * label.size;
                    let [x, y] = if label.upright { [lower, 0.0] } else { [0.0, lower] };
                    let at = (unit(label.at.0 + x), unit(label.at.1 + y));
                    area.draw_text(&label.text, &style, at).map_err(failed)?;
                }
            }
        }
        area.present().map_err(failed)
    }
}

/// Width of `text` set in letters of `size`.
pub fn width(text: &str, size: f64) -> f64 {
    with_fonts();
    let font = FontDesc::new(FontFamily::SansSerif, size * UNITS, FontStyle::Normal);
    // A font that cannot be measured cannot be drawn with either, and drawing says so.
    font.box_size(text).map_or(0.0, |(width, _)| f64::from(width) / UNITS)
}

fn failed(problem: impl std::fmt::Display) -> Error {
    Error::io("draw", "a figure")(std::io::Error::other(problem.to_string()))
}

fn with_fonts() {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        for (style, bytes) in [(FontStyle::Normal, REGULAR), (FontStyle::Bold, SEMIBOLD)] {
            // It is refused only if it is no font, and then drawing text fails.
            let _ = plotters::style::register_font(FAMILY, style, bytes);
        }
    });
}
