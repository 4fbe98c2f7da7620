//! Strict parsing of query strings: unknown and repeated parameters are rejected.

use crate::web::problem::{Problem, ProblemKind};

/// Returns the values of the parameters `names`, in that order; `None` for absent ones.
///
/// # Errors
/// 400 with the name of the parameter that is unknown or repeated.
pub fn read<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let index = names.iter().position(|known| *known == name).ok_or_else(|| {
            Problem::field(ProblemKind::Malformed, name.as_ref(), "is not a parameter of this request")
        })?;
        if values[index].replace(value.into_owned()).is_some() {
            return Err(Problem::field(ProblemKind::Malformed, name.as_ref(), "is there twice"));
        }
    }
    Ok(values)
}

/// Parses a number from 1 to `max`, without leading zeros.
///
/// # Errors
/// 422 with the name of the parameter.
pub fn count(name: &'static str, text: &str, max: u32) -> Result<u32, Problem> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(count) if is_number && (1..=max).contains(&count) => Ok(count),
        _ => Err(Problem::field(ProblemKind::Invalid, name, format!("must be a number from 1 to {max}"))),
    }
}
