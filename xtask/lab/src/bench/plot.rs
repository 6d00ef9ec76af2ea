//! The main figure of a case as bars with the range of their rounds, in SVG.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::statistics::Summary;
use super::table::{Series, number};
use crate::host::real;

const SIZE: (u32, u32) = (720, 380);
const OURS: RGBColor = RGBColor(32, 96, 160);
const THEIRS: RGBColor = RGBColor(160, 160, 160);
/// Half the width of a bar, where contenders stand 1 apart.
const HALF_BAR: f64 = 0.32;
/// Figures that are further apart are drawn on a scale of powers of ten.
const WIDE: f64 = 100.0;

/// The figure of a contender, or of ours with so much of something.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) found: Summary,
    pub(super) is_ours: bool,
}

/// What is drawn into a file `NAME.svg`.
pub(super) struct Picture<'a> {
    pub(super) name: &'a str,
    pub(super) title: &'a str,
    pub(super) metric: &'a str,
    pub(super) bars: Vec<Bar>,
}

impl<'a> Picture<'a> {
    /// A bar for each contender of which a run counts; the first is ours.
    pub(super) fn of(series: &'a Series) -> Self {
        let bar = |(index, name): (usize, &'static str)| {
            let found = series.summary(name, &series.main)?;
            Some(Bar { label: name.to_owned(), found, is_ours: index == 0 })
        };
        let bars = series.contenders().into_iter().enumerate().filter_map(bar).collect();
        Self { name: &series.name, title: &series.title, metric: &series.main, bars }
    }

    /// Draws the picture into `dir`; nothing when there are no bars.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn draw(&self, dir: &Path, footer: &str) -> Result<()> {
        if self.bars.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let path = dir.join(format!("{}.svg", self.name));
        let mut svg = String::new();
        bars_into(&mut svg, self, footer)?;
        // Blanks at the ends of lines and a missing last newline are how the library writes.
        let lines: Vec<&str> = svg.lines().map(str::trim_end).collect();
        let text = lines.join("\n") + "\n";
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }
}

fn bars_into(svg: &mut String, picture: &Picture<'_>, footer: &str) -> Result<()> {
    let bars = &picture.bars;
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let least = bars.iter().map(|bar| bar.found.min).fold(f64::INFINITY, f64::min);
    let most = bars.iter().map(|bar| bar.found.max).fold(f64::EPSILON, f64::max);
    let is_wide = least > 0.0 && most / least > WIDE;
    let scale = |value: f64| if is_wide { value.log10() } else { value };
    let value_at = |y: &f64| if is_wide { 10f64.powf(*y) } else { *y };
    let bottom = if is_wide { least.log10().floor() } else { 0.0 };
    let top = bottom + (scale(most) - bottom) * 1.15;
    let count = real(u64::try_from(bars.len())?);
    let note = ("sans-serif", 14).into_font().color(&BLACK.mix(0.6));
    root.draw(&Text::new(footer, (12, 360), note)).map_err(failed)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(picture.title, ("sans-serif", fitting(picture.title, f64::from(SIZE.0), 20)))
        .margin(12)
        .margin_bottom(28)
        .x_label_area_size(32)
        .y_label_area_size(88)
        .build_cartesian_2d(-0.5..count - 0.5, bottom..top)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .max_light_lines(1)
        .y_desc(picture.metric)
        .y_label_formatter(&|y| number(value_at(y)))
        .label_style(("sans-serif", 14))
        .draw()
        .map_err(failed)?;
    let room = f64::from(SIZE.0 - 112) / count;
    for (index, Bar { label, found, is_ours }) in bars.iter().enumerate() {
        let x = real(u64::try_from(index)?);
        let colour = if *is_ours { OURS } else { THEIRS };
        let [median, min, max] = [found.median, found.min, found.max].map(scale);
        let bar = Rectangle::new([(x - HALF_BAR, bottom), (x + HALF_BAR, median)], colour.filled());
        let range = PathElement::new(vec![(x, min), (x, max)], BLACK.stroke_width(2));
        chart.draw_series([bar]).map_err(failed)?;
        chart.draw_series([range]).map_err(failed)?;
        let value = number(found.median);
        // The name below its bar, the median above.
        for (text, y, from, below) in
            [(label, bottom, VPos::Top, 8), (&value, max, VPos::Bottom, -4)]
        {
            let font = ("sans-serif", fitting(text, room, 16)).into_font();
            let style = font.color(&BLACK).pos(Pos::new(HPos::Center, from));
            let text = EmptyElement::at((x, y)) + Text::new(text.clone(), (0, below), style);
            chart.draw_series([text]).map_err(failed)?;
        }
    }
    root.present().map_err(failed)
}

/// Returns a size of letters, `most` at most, in which `text` takes `width` pixels: a letter is about half
/// as wide as high.
fn fitting(text: &str, width: f64, most: u32) -> f64 {
    let letters = text.chars().count().max(1);
    (width / (0.55 * real(letters as u64))).min(most.into())
}

/// The library's errors borrow nothing but are not sendable in general.
fn failed(error: impl Debug) -> anyhow::Error {
    anyhow!("drawing: {error:?}")
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Metric, Sample};
    use super::*;

    #[test]
    fn a_series_becomes_a_picture_and_one_that_does_not_count_becomes_none() {
        let dir = tempfile::tempdir().unwrap();
        let sample = |contender, value, faults| Sample {
            contender,
            version: String::new(),
            round: 1,
            metrics: vec![Metric::new("proxy CPU us/connection", value)],
            faults,
            notes: Vec::new(),
        };
        let mut series = Series {
            name: "short".to_owned(),
            title: "short connections".to_owned(),
            main: "proxy CPU us/connection".to_owned(),
            samples: vec![sample("ppserver", 70.0, vec![]), sample("haproxy", 80.0, vec![])],
        };
        Picture::of(&series).draw(dir.path(), "on a machine").unwrap();
        let svg = fs::read_to_string(dir.path().join("short.svg")).unwrap();
        for part in ["<svg", "ppserver", "70.0", "haproxy", "80.0", "on a machine"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(svg.lines().all(|line| !line.ends_with(' ')));

        // 7 and 70,000 on one picture: the lines between are powers of ten.
        series.name = "wide".to_owned();
        series.samples[0].metrics[0].value = 70_000.0;
        series.samples[1].metrics[0].value = 7.0;
        Picture::of(&series).draw(dir.path(), "").unwrap();
        let svg = fs::read_to_string(dir.path().join("wide.svg")).unwrap();
        for part in ["70000", ">\n10.0\n<", ">\n1000\n<"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }

        series.name = "other".to_owned();
        series.samples.iter_mut().for_each(|sample| sample.faults.push("bad".to_owned()));
        Picture::of(&series).draw(dir.path(), "").unwrap();
        assert!(!dir.path().join("other.svg").exists());
    }
}
