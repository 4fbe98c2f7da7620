//! Passwords that guessers try first. To judge one may take as long as to hash it, so it is the pool's work.

/// As many guesses as lists of the commonest passwords are long.
const MIN_GUESSES: u64 = 10_000;

/// Longer ones are on no list, and the time that it takes to judge them grows with the square.
const MAX_JUDGED_CHARS: usize = 24;

/// Whether a guesser who knows the lists, the keyboard, and the words in `known` finds the password within ten
/// thousand guesses (zxcvbn, Wheeler 2016).
pub(super) fn is_common(password: &str, known: &[&str]) -> bool {
    password.chars().nth(MAX_JUDGED_CHARS).is_none() && zxcvbn::zxcvbn(password, known).guesses() < MIN_GUESSES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_passwords_are_common() {
        for password in
            ["password", "12345678", "qwertyuiop", "iloveyou", "Password1", "p@ssw0rd", "aaaaaaaaaaaa", "football1"]
        {
            assert!(is_common(password, &[]), "{password}");
        }
    }

    #[test]
    fn what_is_made_of_the_login_name_is_common() {
        assert!(is_common("lovelace1815", &["ada", "lovelace1815"]));
        assert!(!is_common("lovelace1815", &[]));
    }

    #[test]
    fn phrases_and_random_ones_are_not() {
        for password in
            ["correct horse battery", "staple battery horse", "kJ8#mQ2x", "x7Gf-29sk-Qpw1", "πάντα ῥεῖ καὶ οὐδὲν μένει"]
        {
            assert!(!is_common(password, &[]), "{password}");
        }
    }
}
