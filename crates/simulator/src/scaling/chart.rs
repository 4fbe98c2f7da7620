//! Charts of runs, as SVG.

use std::collections::BTreeMap;

use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::{
        BLACK, ChartBuilder, Color, DrawingAreaErrorKind, IntoDrawingArea, IntoLogRange, LineSeries, PathElement,
        RGBColor, SVGBackend, SeriesLabelPosition, TRANSPARENT, WHITE,
    },
};

use super::{Arrivals, ContenderName, Report, Run, Settings};

const SIZE: (u32, u32) = (1200, 600);
/// The maximum number of points of a line.
const MAX_POINTS: usize = 800;
/// The lower end of the logarithmic axis, in percent; smaller values are drawn there.
const MIN_PERCENT: f64 = 0.001;
const GRAY: RGBColor = RGBColor(150, 150, 150);

/// A chart cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the chart: {0}")]
pub struct ChartError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for ChartError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

struct Line {
    name: String,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Draws the demand, in instances at full use, and the number of instances of each run over time, as SVG. A point is the mean of
/// one or more seconds.
///
/// # Errors
/// [`ChartError`] if drawing fails.
pub fn course(runs: &[Run], arrivals: &Arrivals, settings: &Settings) -> Result<String, ChartError> {
    let seconds = arrivals.seconds();
    let step = seconds.div_ceil(MAX_POINTS).max(1);
    let points = |value: &dyn Fn(usize, usize) -> f64| {
        let bins = (0..seconds).step_by(step);
        bins.map(|from| (from as f64 / 3600.0, value(from, (from + step).min(seconds)))).collect()
    };
    let demand = points(&|from, to| arrivals.mean(from, to) / settings.capacity);
    let mut lines = vec![Line { name: "demand, in instances at full use".to_owned(), color: GRAY, points: demand }];
    lines.extend(runs.iter().map(|run| Line {
        name: format!("{} at {}", run.report.policy, run.report.target),
        color: color(run.report.policy),
        points: points(&|from, to| {
            let counts = run.counts.get(from..to).unwrap_or_default();
            counts.iter().map(|count| f64::from(*count)).sum::<f64>() / (to - from) as f64
        }),
    }));
    let top = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(1.0, f64::max);
    svg((0.0..seconds as f64 / 3600.0, "hours"), (0.0..top * 1.2, "instances"), lines)
}

/// Draws violations over cost on logarithmic axes, with a line for each policy, as SVG.
///
/// # Errors
/// [`ChartError`] if drawing fails.
pub fn frontiers(reports: &[Report]) -> Result<String, ChartError> {
    let mut lines = BTreeMap::<&str, Line>::new();
    for report in reports {
        let percent = 100.0 * report.violation_seconds as f64 / report.seconds.max(1) as f64;
        let (name, color) = (report.policy.name(), color(report.policy));
        let line = lines.entry(name).or_insert_with(|| Line { name: name.to_owned(), color, points: Vec::new() });
        line.points.push((report.over_minimum(), percent.max(MIN_PERCENT)));
    }
    lines.values_mut().for_each(|line| line.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    let costs = || lines.values().flat_map(|line| line.points.iter().map(|(x, _)| *x));
    let (left, right) = (costs().fold(f64::INFINITY, f64::min).clamp(0.01, 1.0), costs().fold(1.1, f64::max));
    let cost = ((left..right * 1.05).log_scale(), "node-seconds, relative to the minimum without violations");
    let violations = ((MIN_PERCENT..100.0).log_scale(), "% of the time with too few instances");
    svg(cost, violations, lines.into_values())
}

/// Draws lines over two axes, each with its range and its description.
fn svg<X, Y>(
    (x, x_desc): (X, &str),
    (y, y_desc): (Y, &str),
    lines: impl IntoIterator<Item = Line>,
) -> Result<String, ChartError>
where
    X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(&area);
        let mut chart = builder.margin(20).x_label_area_size(45).y_label_area_size(60).build_cartesian_2d(x, y)?;
        chart.configure_mesh().light_line_style(TRANSPARENT).x_desc(x_desc).y_desc(y_desc).draw()?;
        for Line { name, color, points } in lines {
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(3)));
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperRight).background_style(WHITE).border_style(BLACK).draw()?;
        area.present()?;
    }
    Ok(svg)
}

fn color(policy: ContenderName) -> RGBColor {
    match policy {
        ContenderName::Demand => RGBColor(0, 110, 180),
        ContenderName::Threshold => RGBColor(200, 60, 40),
        ContenderName::Hpa => RGBColor(50, 140, 60),
        ContenderName::Kpa => RGBColor(220, 150, 20),
    }
}
