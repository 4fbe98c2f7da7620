//! The name that a user logs in with, in canonical form.
//!
//! Invariant: equal to a reader's eye means equal as text. The form is NFKC and case-folded, repeated until it no longer
//! changes, since folding can denormalise and normalising can unfold. It is the partition key of the name's claim.

use std::{borrow::Cow, fmt};

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};
use serde::Serialize;
use unicode_security::{RestrictionLevel, RestrictionLevelDetection};

/// The most characters a canonical login name has: an e-mail address fits.
pub const MAX_LOGIN_NAME_CHARS: usize = 254;

/// A canonical login name: 1 to [`MAX_LOGIN_NAME_CHARS`] visible characters without white space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LoginName(String);

/// Text that no login name can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginNameError {
    /// Nothing is left of it.
    #[error("must not be empty")]
    Empty,
    /// More than [`MAX_LOGIN_NAME_CHARS`] characters.
    #[error("must be at most {MAX_LOGIN_NAME_CHARS} characters long")]
    TooLong,
    /// White space, control characters, or characters that show nothing.
    #[error("must not contain white space, control or invisible characters")]
    Invisible,
    /// Characters of several scripts that look alike, or that no script in common use has.
    #[error(
        "must be of one script in common use, or of Latin with Chinese, Japanese or Korean, and hold no symbols but ASCII's"
    )]
    Deceptive,
}

impl LoginName {
    /// Brings `text` into canonical form.
    ///
    /// # Errors
    /// [`LoginNameError`] says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, LoginNameError> {
        if text.chars().nth(MAX_LOGIN_NAME_CHARS).is_some() {
            return Err(LoginNameError::TooLong);
        }
        let name = canonical(text);
        if name.is_empty() {
            return Err(LoginNameError::Empty);
        }
        if name.chars().any(is_invisible) {
            return Err(LoginNameError::Invisible);
        }
        if name.chars().nth(MAX_LOGIN_NAME_CHARS).is_some() {
            return Err(LoginNameError::TooLong);
        }
        Ok(Self(name))
    }

    /// Brings the name that someone chooses into canonical form. More is refused than for the names that there are.
    ///
    /// # Errors
    /// [`LoginNameError`] says which rule it breaks.
    pub fn parse_new(text: &str) -> Result<Self, LoginNameError> {
        let name = Self::parse(text)?;
        if name.0.contains(BRAILLE_BLANK) {
            return Err(LoginNameError::Invisible);
        }
        if is_highly_restrictive(&name.0) { Ok(name) } else { Err(LoginNameError::Deceptive) }
    }

    /// A name that a store has kept, canonical since it was written.
    pub(crate) fn from_store(text: String) -> Self {
        Self(text)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form in which login names, and passwords that are compared with them, are equal.
pub(crate) fn canonical(text: &str) -> String {
    let normalizer = ComposingNormalizerBorrowed::new_nfkc();
    let mut current = Cow::Borrowed(text);
    // Three rounds settle every Unicode text; the bound only keeps a future Unicode version from looping.
    for _ in 0..8 {
        let folded = CaseMapper::new().fold_string(&normalizer.normalize(&current)).into_owned();
        let next = normalizer.normalize(&folded).into_owned();
        if next == *current {
            break;
        }
        current = Cow::Owned(next);
    }
    current.into_owned()
}

/// A symbol by its category, and blank to the eye.
const BRAILLE_BLANK: char = '\u{2800}';

/// Whether a name is Highly Restrictive (UTS 39, section 5.2): of one script, or of Latin with one of the combinations that
/// Chinese, Japanese and Korean are written in, and of characters that are recommended for identifiers. ASCII's marks go
/// with every script, those too that e-mail addresses have and identifiers don't.
fn is_highly_restrictive(name: &str) -> bool {
    let text: String = name.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    text.as_str().check_restriction_level(RestrictionLevel::HighlyRestrictive)
}

fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || matches!(
            CodePointMapData::<GeneralCategory>::new().get(c),
            GeneralCategory::Format | GeneralCategory::PrivateUse | GeneralCategory::Unassigned
        )
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    fn parsed(text: &str) -> Result<String, LoginNameError> {
        LoginName::parse(text).map(|name| name.to_string())
    }

    #[test]
    fn case_and_compatibility_forms_make_no_difference() {
        for text in ["Ada", "ADA", "ａｄａ", "𝐀𝐝𝐚"] {
            assert_eq!(parsed(text).as_deref(), Ok("ada"), "{text}");
        }
        assert_eq!(parsed("STRASSE"), parsed("straße"));
        assert_eq!(parsed("cafe\u{301}"), parsed("CAFÉ"));
    }

    #[test]
    fn names_that_show_nothing_or_hide_something_are_refused() {
        assert_eq!(parsed(""), Err(LoginNameError::Empty));
        for text in ["a b", " a", "a\n", "a\0", "a\u{200b}", "a\u{202e}b", "\u{3000}", "\u{ad}"] {
            assert_eq!(parsed(text), Err(LoginNameError::Invisible), "{text:?}");
        }
    }

    #[test]
    fn a_new_name_is_of_one_script_and_shows_what_it_is() {
        let new = |text: &str| LoginName::parse_new(text).map(drop);
        let passing = [
            "ada",
            "a!b",
            "ada.lovelace+x@example.com",
            "--",
            "42",
            "josé@exämple.com",
            "straße",
            "łukasz",
            "αλέξανδρος",
            "олександр",
            "анна_1@пример.рф",
            "דוד",
            "محمد",
            "अनीता",
            "สมชาย",
            "李明",
            "山田たろう",
            "ﾔﾏﾀﾞ",
            "tanakaたろう",
            "김철수kim",
            "li明",
            "o'neil",
            "նարեկ",
            "გიორგი",
        ];
        for name in passing {
            assert_eq!(new(name), Ok(()), "{name}");
        }
        // Cyrillic a, Greek omicron, Cherokee, a mathematical operator, an emoji, an ancient script.
        for name in ["\u{430}da", "c\u{3bf}rp", "ᏣᎳᎩ", "a∕b", "ada😀", "𐌰𐌳𐌰", "αб", "김たろう"]
        {
            assert_eq!(new(name), Err(LoginNameError::Deceptive), "{name}");
            assert!(LoginName::parse(name).is_ok(), "those who have {name} log in with it");
        }
        let blank = ['\u{2800}', '\u{3164}', '\u{115f}', '\u{ffa0}', '\u{180b}', '\u{fe0f}', '\u{e0100}', '\u{200d}'];
        for c in blank {
            assert_eq!(new(&format!("ada{c}")), Err(LoginNameError::Invisible), "{c:?}");
        }
    }

    #[test]
    fn length_is_limited_before_and_after_normalisation() {
        assert!(parsed(&"a".repeat(MAX_LOGIN_NAME_CHARS)).is_ok());
        assert_eq!(parsed(&"a".repeat(MAX_LOGIN_NAME_CHARS + 1)), Err(LoginNameError::TooLong));
        assert_eq!(parsed(&"ﷺ".repeat(MAX_LOGIN_NAME_CHARS)), Err(LoginNameError::Invisible));
        assert_eq!(parsed(&"㎏".repeat(200)), Err(LoginNameError::TooLong));
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own_canonical_form(text in "\\PC{0,40}") {
            let once = canonical(&text);
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
