//! Detection of passwords that are easy to guess. A check may take as long as a hash, so it runs on the hashing pool.

/// Minimum of guesses that a password must withstand, about the length of a list of common passwords.
const MIN_GUESSES: u64 = 10_000;

/// Longer passwords are not checked: they are on no list, and the time of a check grows with the square of the length.
const MAX_CHECKED_CHARS: usize = 24;

/// Returns whether someone who knows common passwords, keyboard patterns and the words in `known` guesses the password
/// within [`MIN_GUESSES`] attempts (zxcvbn, Wheeler 2016).
pub(super) fn is_common(password: &str, known: &[&str]) -> bool {
    password.chars().nth(MAX_CHECKED_CHARS).is_none() && zxcvbn::zxcvbn(password, known).guesses() < MIN_GUESSES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_passwords_are_detected() {
        for password in
            ["password", "12345678", "qwertyuiop", "iloveyou", "Password1", "p@ssw0rd", "aaaaaaaaaaaa", "football1"]
        {
            assert!(is_common(password, &[]), "{password}");
        }
    }

    #[test]
    fn passwords_derived_from_the_login_name_are_common() {
        assert!(is_common("lovelace1815", &["ada", "lovelace1815"]));
        assert!(!is_common("lovelace1815", &[]));
    }

    #[test]
    fn phrases_and_random_passwords_are_not_common() {
        for password in
            ["correct horse battery", "staple battery horse", "kJ8#mQ2x", "x7Gf-29sk-Qpw1", "πάντα ῥεῖ καὶ οὐδὲν μένει"]
        {
            assert!(!is_common(password, &[]), "{password}");
        }
    }
}
