//! The line format of imports and exports.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    json::{self, DocumentObject, object},
    model::{PasswordHash, Permission, Permissions, Preferences, Profile, User, UserId, Violation, version},
    users::Validator,
};

/// Maximum time by which the exporting machine's clock may be ahead.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// A line of an import.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    login_name: String,
    #[serde(deserialize_with = "object")]
    profile: Profile,
    #[serde(default)]
    preferences: DocumentObject,
    #[serde(default)]
    password_hash: Option<String>,
    #[serde(default)]
    user_id: Option<UserId>,
    #[serde(default)]
    permissions: Option<Vec<Permission>>,
    #[serde(default)]
    suspended: bool,
    #[serde(default)]
    created_at: Option<Timestamp>,
    #[serde(default)]
    version: Option<i64>,
}

/// A line of an export, which an import accepts.
#[derive(Debug, Serialize)]
pub struct ExportRecord<'a> {
    login_name: &'a str,
    profile: &'a Profile,
    preferences: &'a Preferences,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_hash: Option<&'a str>,
    user_id: UserId,
    permissions: Permissions,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    suspended: bool,
    created_at: Timestamp,
    version: i64,
}

impl<'a> ExportRecord<'a> {
    pub fn of(user: &'a User) -> Self {
        Self {
            login_name: user.login_name.as_str(),
            profile: &user.profile,
            preferences: &user.preferences,
            password_hash: user.password_hash.export(),
            user_id: user.user_id,
            permissions: user.permissions,
            suspended: user.suspended,
            created_at: user.created_at,
            version: user.version,
        }
    }
}

/// A user from a line of an import.
#[derive(Debug, Clone)]
pub struct ImportCandidate {
    /// Number of the line.
    pub line: u64,
    pub user: User,
    /// Whether the line has a `user_id`; otherwise the id is generated.
    pub has_own_id: bool,
}

/// A line that was not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub line: u64,
    /// Reasons by member, without values.
    pub violations: Vec<Violation>,
}

impl Rejection {
    /// Creates a rejection with one reason.
    pub fn new(line: u64, field: &str, detail: impl Into<String>) -> Self {
        Self { line, violations: vec![Violation::new(field, detail)] }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        for (number, Violation { field, detail }) in self.violations.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            let space = if field.is_empty() { "" } else { " " };
            // The name of an unknown member comes from the file and may contain terminal escapes.
            write!(f, "{separator}{}{space}{detail}", field.escape_debug())?;
        }
        Ok(())
    }
}

impl ImportCandidate {
    /// Parses and checks a line.
    pub fn parse(line: u64, text: &[u8]) -> Result<Self, Rejection> {
        let parsed: Line = json::from_slice(text).map_err(|error| {
            let detail = error.detail.replace(" at line 1, column ", " at column ");
            Rejection::new(line, &error.field, detail)
        })?;
        let has_own_id = parsed.user_id.is_some();
        match parsed.check() {
            Ok(user) => Ok(Self { line, user, has_own_id }),
            Err(violations) => Err(Rejection { line, violations }),
        }
    }
}

impl Line {
    fn check(self) -> Result<User, Vec<Violation>> {
        let now = Timestamp::now();
        let mut validator = Validator::new();
        let login_name = validator.login_name("login_name", &self.login_name);
        validator.profile("profile", &self.profile);
        validator.preferences("preferences", &self.preferences.0);
        let mut violations = validator.finish().err().unwrap_or_default();
        let password_hash = match self.password_hash.map(PasswordHash::import) {
            None => PasswordHash::none(),
            Some(Ok(hash)) => hash,
            Some(Err(error)) => {
                violations.push(Violation::new("password_hash", error.to_string()));
                PasswordHash::none()
            }
        };
        if self.user_id.is_some_and(|id| id.uuid().is_nil()) {
            violations.push(Violation::new("user_id", "must not be the nil UUID"));
        }
        // Clocks differ. A user never gets a creation time after its import.
        let created_at = self.created_at.unwrap_or(now);
        if created_at > now + MAX_CLOCK_SKEW || created_at < Timestamp::from_millis(0) {
            violations.push(Violation::new("created_at", "must be between 1970 and now"));
        }
        // A version from the future would stay ahead of the clock through all later changes.
        let last = (now + MAX_CLOCK_SKEW).millis();
        if self.version.is_some_and(|version| !(1..=last).contains(&version)) {
            violations.push(Violation::new("version", "must be between 1 and the milliseconds since 1970"));
        }
        // An invalid name was reported above.
        let Some(login_name) = login_name.filter(|_| violations.is_empty()) else { return Err(violations) };
        Ok(User {
            user_id: self.user_id.unwrap_or_else(UserId::generate),
            login_name,
            password_hash,
            profile: self.profile,
            preferences: (&self.preferences.0).into(),
            permissions: self.permissions.map_or_else(Permissions::default, |list| Permissions::from_list(&list)),
            suspended: self.suspended,
            idempotency_hash: None,
            reset: None,
            version: self.version.unwrap_or_else(|| version::first(now)),
            created_at: created_at.min(now),
            updated_at: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE_LINE: &str = concat!(
        r#"{"login_name":"ada","profile":{"name":"Ada","email":"ada@example.com"},"preferences":{"a":[]},"#,
        r#""password_hash":"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW","#,
        r#""user_id":"01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60","permissions":["read","admin"],"suspended":true,"#,
        r#""created_at":"2020-02-03T04:05:06.789Z","version":1600000000000}"#
    );

    fn rejected(text: &str) -> String {
        ImportCandidate::parse(7, text.as_bytes()).expect_err("a rejection").to_string()
    }

    #[test]
    fn an_imported_line_is_exported_unchanged() {
        let candidate = ImportCandidate::parse(1, COMPLETE_LINE.as_bytes()).expect("a user");
        let line = serde_json::to_string(&ExportRecord::of(&candidate.user)).expect("JSON");
        assert_eq!(line, COMPLETE_LINE);
    }

    #[test]
    fn only_login_name_and_profile_are_required() {
        let text = r#"{"login_name": "ADA", "profile": {"name": "Ada", "email": "ada@example.com"}}"#;
        let candidate = ImportCandidate::parse(1, text.as_bytes()).expect("a user");
        assert_eq!((candidate.user.login_name.as_str(), candidate.has_own_id), ("ada", false));
        assert_eq!(candidate.user.permissions, Permissions::default());
        assert_eq!(candidate.user.password_hash.export(), None);
    }

    #[test]
    fn a_rejection_shows_line_and_members_but_no_values() {
        assert_eq!(rejected(r#"{"\u001b]0;": 1}"#), "line 7: \\u{1b}]0; is not a member of this request");
        assert_eq!(rejected("{"), "line 7: is not JSON: EOF while parsing an object at column 1");
        let wrong = COMPLETE_LINE.replace("ada@", "ada").replace("$2b$05", "secret");
        let shown = rejected(&wrong);
        assert!(shown.starts_with("line 7: profile.email must be an e-mail address"), "{shown}");
        assert!(shown.contains("; password_hash must be") && !shown.contains("secret"), "{shown}");
        assert!(
            rejected(&COMPLETE_LINE.replace("suspended", "password")).starts_with("line 7: password is not a member")
        );
        let shown = rejected(&COMPLETE_LINE.replace("suspended", r"\u001b[2J\n"));
        assert!(shown.starts_with(r"line 7: \u{1b}[2J\n is not a member"), "{shown}");
        assert!(rejected(&COMPLETE_LINE.replace("2020-", "2999-")).starts_with("line 7: created_at must be"));
    }

    #[test]
    fn a_version_is_kept_unless_it_is_from_the_future() {
        let text = |version: i64| COMPLETE_LINE.replace("1600000000000", &version.to_string());
        let version = |text: &str| ImportCandidate::parse(1, text.as_bytes()).expect("a user").user.version;
        let now = Timestamp::now().millis();
        for carried in [1, 17, now, now + 3_500_000] {
            assert_eq!(version(&text(carried)), carried);
        }
        for wrong in [-1, 0, now + 3_700_000, 1 << 53, i64::MAX] {
            assert!(rejected(&text(wrong)).starts_with("line 7: version must be"), "{wrong}");
        }
        let without = version(&COMPLETE_LINE.replace(r#","version":1600000000000"#, ""));
        assert!((now..now + 60_000).contains(&without), "{without}");
    }
}
