//! Query strings, read strictly: a parameter that is unknown or given twice is refused.

use crate::web::problem::{Problem, ProblemKind};

/// The values of the parameters `names`, in their order.
///
/// # Errors
/// 400 names the parameter that is unknown or there twice.
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

/// The value of a parameter that counts something: a number from 1 to `most`, without leading zeros.
///
/// # Errors
/// 422 names the parameter.
pub fn count(name: &'static str, text: &str, most: u32) -> Result<u32, Problem> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(count) if is_number && (1..=most).contains(&count) => Ok(count),
        _ => Err(Problem::field(ProblemKind::Invalid, name, format!("must be a number from 1 to {most}"))),
    }
}
