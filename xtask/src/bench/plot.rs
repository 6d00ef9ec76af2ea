//! The main figure of a case as bars with the range of their rounds, in SVG.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use super::statistics::Summary;
use super::table::{Series, number};
use crate::host::real;

const SIZE: (u32, u32) = (640, 360);
const OURS: RGBColor = RGBColor(32, 96, 160);
const THEIRS: RGBColor = RGBColor(160, 160, 160);
/// Half the width of a bar, where contenders stand 1 apart.
const HALF_BAR: f64 = 0.32;
/// So many have small labels.
const MANY_BARS: usize = 4;

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
    let top = bars.iter().map(|bar| bar.found.max).fold(0.0, f64::max) * 1.15;
    let count = real(u64::try_from(bars.len())?);
    let note = ("sans-serif", 14).into_font().color(&BLACK.mix(0.6));
    root.draw(&Text::new(footer, (12, 340), note)).map_err(failed)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(picture.title, ("sans-serif", 20))
        .margin(12)
        .margin_bottom(28)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.5..count - 0.5, 0.0..top.max(f64::EPSILON))
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .max_light_lines(1)
        .y_desc(picture.metric)
        .label_style(("sans-serif", 16))
        .draw()
        .map_err(failed)?;
    let font_size = if bars.len() > MANY_BARS { 14 } else { 18 };
    for (index, Bar { label, found, is_ours }) in bars.iter().enumerate() {
        let x = real(u64::try_from(index)?);
        let colour = if *is_ours { OURS } else { THEIRS };
        let Summary { median, min, max, .. } = *found;
        let bar = Rectangle::new([(x - HALF_BAR, 0.0), (x + HALF_BAR, median)], colour.filled());
        let range = PathElement::new(vec![(x, min), (x, max)], BLACK.stroke_width(2));
        let label = format!("{label}: {}", number(median));
        let font = ("sans-serif", font_size).into_font();
        // A low bar has no room for its label.
        let ink = if median < top * 0.1 { BLACK } else { WHITE };
        let at = if median < top * 0.1 { median + top * 0.06 } else { top * 0.06 };
        chart.draw_series([bar]).map_err(failed)?;
        chart.draw_series([range]).map_err(failed)?;
        let text = Text::new(label, (x - HALF_BAR, at), font.color(&ink));
        chart.draw_series([text]).map_err(failed)?;
    }
    root.present().map_err(failed)
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
        for part in ["<svg", "ppserver: 70.0", "haproxy: 80.0", "on a machine"] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(svg.lines().all(|line| !line.ends_with(' ')));

        series.name = "other".to_owned();
        series.samples.iter_mut().for_each(|sample| sample.faults.push("bad".to_owned()));
        Picture::of(&series).draw(dir.path(), "").unwrap();
        assert!(!dir.path().join("other.svg").exists());
    }
}
