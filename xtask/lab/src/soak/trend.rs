//! A straight line through samples, by least squares.

/// Samples over time.
#[derive(Debug, Default)]
pub(super) struct Trend {
    /// Seconds and value.
    points: Vec<(f64, f64)>,
}

impl Trend {
    pub(super) fn add(&mut self, seconds: f64, value: f64) {
        self.points.push((seconds, value));
    }

    /// By how much the value rises in an hour; 0 with fewer than two points.
    pub(super) fn slope_per_hour(&self) -> f64 {
        let count: f64 = self.points.iter().map(|_| 1.0).sum();
        let mean = |of: fn(&(f64, f64)) -> f64| self.points.iter().map(of).sum::<f64>() / count;
        let (mid, level) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = self.points.iter().map(|(x, _)| (x - mid).powi(2)).sum();
        let along: f64 = self.points.iter().map(|(x, y)| (x - mid) * (y - level)).sum();
        if spread > 0.0 { along / spread * 3600.0 } else { 0.0 }
    }

    /// The lowest and the highest value; 0 without a point.
    pub(super) fn range(&self) -> (f64, f64) {
        let values = || self.points.iter().map(|(_, value)| *value);
        match (values().reduce(f64::min), values().reduce(f64::max)) {
            (Some(min), Some(max)) => (min, max),
            _ => (0.0, 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again_and_noise_has_none() {
        let mut line = Trend::default();
        let mut noise = Trend::default();
        for second in 0..100 {
            line.add(f64::from(second), 7.0 + 2.0 * f64::from(second));
            noise.add(f64::from(second), if second % 2 == 0 { 1.0 } else { 2.0 });
        }
        assert!((line.slope_per_hour() - 7200.0).abs() < 1e-6);
        assert!(noise.slope_per_hour().abs() < 2.0);
        assert_eq!(noise.range(), (1.0, 2.0));
        assert!(Trend::default().slope_per_hour().abs() < f64::EPSILON);
    }
}
