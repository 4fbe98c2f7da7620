//! Login names in canonical form.
//!
//! Names that look equal are equal as text. The canonical form is NFKC and case-folded. Both steps are repeated until the
//! text no longer changes, because each can undo the other. The canonical name is the partition key of the name's claim.

use std::{borrow::Cow, fmt};

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};
use serde::Serialize;
use unicode_security::{RestrictionLevel, RestrictionLevelDetection};

/// Maximum length of a login name in characters, long enough for an e-mail address.
pub const MAX_LOGIN_NAME_CHARS: usize = 254;

/// A canonical login name: 1 to [`MAX_LOGIN_NAME_CHARS`] visible characters without white space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LoginName(String);

/// Why text is not a valid login name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginNameError {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {MAX_LOGIN_NAME_CHARS} characters long")]
    TooLong,
    /// White space, control characters or invisible characters.
    #[error("must not contain white space, control or invisible characters")]
    Invisible,
    /// Mixed scripts with look-alike characters, or characters outside the scripts in common use.
    #[error(
        "must use one script in common use, or Latin with Chinese, Japanese or Korean, and no symbols other than ASCII ones"
    )]
    Deceptive,
}

impl LoginName {
    /// Brings `text` into canonical form.
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

    /// Brings a newly chosen name into canonical form. The rules are stricter than for existing names.
    pub fn parse_new(text: &str) -> Result<Self, LoginNameError> {
        let name = Self::parse(text)?;
        if name.0.contains(BRAILLE_BLANK) {
            return Err(LoginNameError::Invisible);
        }
        if is_highly_restrictive(&name.0) { Ok(name) } else { Err(LoginNameError::Deceptive) }
    }

    /// Wraps a stored name, which is already canonical.
    pub(crate) fn from_store(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the canonical form of a login name, or of a password that is compared with one.
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

/// In the Unicode category of symbols, but displayed as a blank.
const BRAILLE_BLANK: char = '\u{2800}';

/// Returns whether a name is Highly Restrictive (UTS 39, section 5.2): one script, or Latin with the scripts of Chinese,
/// Japanese or Korean, and only characters recommended for identifiers. ASCII punctuation is allowed with every script,
/// because e-mail addresses contain it.
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
    fn empty_names_and_invisible_characters_are_refused() {
        assert_eq!(parsed(""), Err(LoginNameError::Empty));
        for text in ["a b", " a", "a\n", "a\0", "a\u{200b}", "a\u{202e}b", "\u{3000}", "\u{ad}"] {
            assert_eq!(parsed(text), Err(LoginNameError::Invisible), "{text:?}");
        }
    }

    #[test]
    fn a_new_name_has_one_script_and_no_look_alikes() {
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
            assert!(LoginName::parse(name).is_ok(), "an existing user can log in as {name}");
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
        fn canonical_is_idempotent(text in "\\PC{0,40}") {
            let once = canonical(&text);
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
