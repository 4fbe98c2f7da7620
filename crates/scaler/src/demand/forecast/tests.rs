use super::*;

const HORIZON: Duration = Duration::from_secs(60);
const STEP: i64 = 5;

/// Returns the forecast at each demand, five seconds apart.
fn forecasts(demands: &[f64], risk: f64) -> Vec<Forecast> {
    let mut forecaster = Forecaster::default();
    let observe = |(index, demand): (usize, &f64)| {
        forecaster.observe(*demand, HORIZON, risk, Timestamp::from_millis(index as i64 * STEP * 1000))
    };
    demands.iter().enumerate().map(observe).collect()
}

/// Iterates over pairs of outcome and forecast.
fn outcomes<'a>(demands: &'a [f64], forecasts: &'a [Forecast]) -> impl Iterator<Item = (f64, &'a Forecast)> {
    demands.iter().copied().skip(HORIZON.as_secs() as usize / STEP as usize).zip(forecasts)
}

fn noise(count: usize) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(11);
    (0..count).map(|_| (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0).collect()
}

#[test]
fn without_history_the_forecast_is_the_current_demand() {
    let forecast = forecasts(&[9.0], 0.01)[0];
    assert!((forecast.expected - 9.0).abs() < 1e-9 && forecast.headroom > 0.5, "{forecast:?}");
}

#[test]
fn an_oscillation_returns_to_its_mean() {
    let demands: Vec<f64> = noise(20_000).into_iter().map(|noise| (5.0 + noise).max(0.0)).collect();
    let forecasts = forecasts(&demands, 0.01);
    let late = &forecasts[10_000..];
    assert!(late.iter().all(|forecast| (forecast.expected - 4.9).abs() < 1.5));
}

#[test]
fn a_random_walk_stays_near_its_last_value() {
    let mut at = 20.0;
    let wander = |noise: f64| {
        at = (at + 0.3 * noise).clamp(5.0, 40.0);
        at
    };
    let demands: Vec<f64> = noise(20_000).into_iter().map(wander).collect();
    let off = |(demand, forecast): (&f64, &Forecast)| (demand - forecast.expected).abs();
    let forecasts = forecasts(&demands, 0.01);
    let mean = demands.iter().zip(&forecasts).skip(10_000).map(off).sum::<f64>() / 10_000.0;
    assert!(mean < 0.5, "{mean}");
}

#[test]
fn a_ramp_is_extrapolated() {
    // Ten minutes up, ten minutes down.
    let demands: Vec<f64> = (0..20_000).map(|step| 10.0 + 0.1 * f64::from((step % 240 - 120_i32).abs())).collect();
    let forecasts = forecasts(&demands, 0.01);
    let off = |value: fn(usize, &[f64], &[Forecast]) -> f64| {
        (10_000..19_900).map(|index| (demands[index + 12] - value(index, &demands, &forecasts)).abs()).sum::<f64>()
    };
    let ahead = off(|index, _, forecasts| forecasts[index].expected);
    let persistence = off(|index, demands, _| demands[index]);
    assert!(ahead < persistence * 0.6, "{ahead} {persistence}");
}

#[test]
fn the_demand_exceeds_the_headroom_in_the_requested_share_of_time() {
    let demands: Vec<f64> = noise(60_000).into_iter().map(|noise| (8.0 + 2.0 * noise).max(0.0)).collect();
    for risk in [0.01, 0.05, 0.2] {
        let forecasts = forecasts(&demands, risk);
        let (count, above) =
            outcomes(&demands, &forecasts).skip(20_000).fold((0.0, 0.0), |(count, above), (demand, it)| {
                (count + 1.0, above + f64::from(demand > it.expected + it.headroom))
            });
        let share: f64 = above / count;
        assert!((share / risk - 1.0).abs() < 0.35, "{share} instead of {risk}");
    }
}

#[test]
fn unobserved_outcomes_are_not_learned() {
    let mut forecaster = Forecaster::default();
    forecaster.observe(5.0, HORIZON, 0.01, Timestamp::from_millis(0));
    forecaster.observe(500.0, HORIZON, 0.01, Timestamp::from_millis(3_600_000));
    assert_eq!(forecaster.weight, 0.0);
}

#[test]
fn another_horizon_resets_the_forecast() {
    let mut forecaster = Forecaster::default();
    for step in 0..100 {
        forecaster.observe(5.0, HORIZON, 0.01, Timestamp::from_millis(step * 5000));
    }
    assert!(forecaster.weight > 10.0);
    forecaster.observe(5.0, HORIZON * 2, 0.01, Timestamp::from_millis(500_000));
    assert_eq!(forecaster.weight, 0.0);
}
