//! Plots as inline SVG: no script, no request, legible in light and in dark. Pure.

use std::fmt::Write;

/// Size of a plot in its own units; a page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
/// Room around the plot itself: numbers to the left, a line of them below.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;

/// One line, or one layer.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Which of the page's colours, from 1.
    pub(super) colour: usize,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// A moment that is pointed at.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: f64,
    pub(super) name: String,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Evenly, from zero.
    Linear,
    /// Ten times as much each time: latencies.
    Log,
}

/// A plot with its legend.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) x_title: &'static str,
    pub(super) y_title: &'static str,
    pub(super) scale: Scale,
    pub(super) series: Vec<Series>,
    pub(super) lines: Vec<Line>,
    /// What stands below the axis, where it is not the numbers themselves.
    pub(super) x_ticks: Option<Vec<(f64, String)>>,
}

/// Text that is markup nowhere.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

impl Plot {
    /// As SVG within a figure; empty where there is nothing to show.
    pub(super) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let finite = || points().filter(|(x, y)| x.is_finite() && y.is_finite());
        if finite().count() == 0 {
            return String::new();
        }
        let (x_min, x_max) = bounds(finite().map(|(x, _)| *x));
        let (y_low, y_high) = bounds(finite().map(|(_, y)| *y));
        let (y_min, y_max) = match self.scale {
            Scale::Linear => (0.0, if y_high > 0.0 { y_high * 1.05 } else { 1.0 }),
            Scale::Log => decades(y_low, y_high),
        };
        let x = |value: f64| LEFT + (value - x_min) / (x_max - x_min).max(1e-9) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| {
            let share = match self.scale {
                Scale::Linear => (value - y_min) / (y_max - y_min),
                Scale::Log => (value.max(y_min) / y_min).log10() / (y_max / y_min).log10(),
            };
            HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
        };
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(self.title),
            escaped(self.title)
        );
        let y_ticks = match self.scale {
            Scale::Linear => even(y_min, y_max),
            Scale::Log => powers(y_min, y_max),
        };
        for tick in y_ticks {
            let (at, left, right) = (y(tick), LEFT, WIDTH - RIGHT);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/><text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                left - 6.0,
                at + 4.0,
                number(tick)
            );
        }
        let x_ticks = self
            .x_ticks
            .clone()
            .unwrap_or_else(|| even(x_min, x_max).into_iter().map(|tick| (tick, number(tick))).collect());
        for (tick, label) in x_ticks.iter().filter(|(tick, _)| (x_min..=x_max).contains(tick)) {
            let _ = write!(
                svg,
                "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x(*tick),
                HEIGHT - BOTTOM + 16.0,
                escaped(label)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 4.0,
            escaped(self.x_title),
            LEFT - 6.0,
            HEIGHT - 4.0,
            escaped(self.y_title)
        );
        for line in self.lines.iter().filter(|line| (x_min..=x_max).contains(&line.at)) {
            let at = x(line.at);
            let _ = write!(
                svg,
                "<line class=\"mark\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\"/><text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                HEIGHT - BOTTOM,
                at + 4.0,
                TOP + 10.0,
                escaped(&line.name)
            );
        }
        for series in &self.series {
            let path: Vec<String> = series
                .points
                .iter()
                .filter(|(px, py)| px.is_finite() && py.is_finite())
                .map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py)))
                .collect();
            // One point alone is a line too, if a short one.
            let path = if let [one] = &path[..] { format!("{one} {one}") } else { path.join(" ") };
            let _ = write!(svg, "<polyline class=\"line c{}\" points=\"{path}\"/>", series.colour);
        }
        svg.push_str("</svg><p class=\"legend\">");
        for series in &self.series {
            let _ = write!(svg, "<span class=\"c{}\">{}</span> ", series.colour, escaped(&series.name));
        }
        svg.push_str("</p></figure>");
        svg
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// Whole powers of ten around two values; one at least.
fn decades(low: f64, high: f64) -> (f64, f64) {
    let low = 10f64.powf(low.max(1e-3).log10().floor());
    let high = 10f64.powf(high.max(1e-3).log10().ceil());
    (low, if high > low { high } else { low * 10.0 })
}

/// Powers of ten, and the twos and fives between them where there are few.
fn powers(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = if high / low > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let mut ticks = Vec::new();
    let mut decade = low;
    while decade <= high * 1.001 {
        ticks.extend(steps.iter().map(|step| decade * step).filter(|tick| *tick <= high * 1.001));
        decade *= 10.0;
    }
    ticks
}

/// Four to nine round numbers.
fn even(low: f64, high: f64) -> Vec<f64> {
    let rough = ((high - low) / 5.0).max(1e-9);
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= rough);
    let step = step.unwrap_or(decade * 10.0);
    let mut ticks = Vec::new();
    let mut tick = (low / step).ceil() * step;
    while tick <= high && ticks.len() < 12 {
        ticks.push(tick);
        tick += step;
    }
    ticks
}

/// With as many digits as tell something.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        below if below < 0.1 => 3,
        below if below < 1.0 => 2,
        below if below < 10.0 && below.fract() != 0.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>, scale: Scale) -> Plot {
        Plot {
            title: "a < b",
            x_title: "s",
            y_title: "ms",
            scale,
            series: vec![Series { name: "<script>".into(), colour: 1, points }],
            lines: vec![Line { at: 1.0, name: "aws \"gone\"".into() }],
            x_ticks: None,
        }
    }

    #[test]
    fn text_is_never_markup() {
        let svg = plot(vec![(0.0, 1.0), (2.0, 3.0)], Scale::Linear).svg();
        assert!(svg.contains("&lt;script&gt;") && svg.contains("a &lt; b"), "{svg}");
        assert!(svg.contains("aws &quot;gone&quot;") && !svg.contains("<script"), "{svg}");
        assert_eq!(escaped("\u{1b}[31m'&"), "\u{fffd}[31m&#39;&amp;");
    }

    #[test]
    fn every_plot_stays_within_its_frame() {
        for scale in [Scale::Linear, Scale::Log] {
            for points in [
                vec![(0.0, 0.0)],
                vec![(0.0, 5.0), (1.0, 5.0)],
                vec![(0.0, 0.0001), (1.0, 1e7), (2.0, f64::NAN)],
            ] {
                let svg = plot(points.clone(), scale).svg();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?} {svg}");
                let line = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
                for point in line.split(' ') {
                    let (x, y) = point.split_once(',').unwrap();
                    let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                    assert!((0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{points:?} {point}");
                }
            }
        }
        assert_eq!(plot(vec![], Scale::Log).svg(), "");
        assert_eq!(plot(vec![(f64::NAN, 1.0)], Scale::Log).svg(), "");
    }

    #[test]
    fn axes_are_divided_by_round_numbers() {
        assert_eq!(even(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(decades(3.0, 90.0), (1.0, 100.0));
        assert_eq!(powers(1.0, 100.0), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(powers(0.1, 1000.0).len(), 5);
        assert_eq!([number(0.0), number(0.25), number(12.0), number(1.5)], ["0", "0.25", "12", "1.5"]);
    }
}
