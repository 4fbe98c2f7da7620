//! Where settings come from, lowest first: the file, the environment, the command line.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{ConfigError, SETTINGS, SettingInfo, SettingValue};

/// The prefix of environment variables.
pub const PREFIX: &str = "SYMBOLON_";
/// The file that is read if it exists and no other is named.
pub const FILE: &str = "symbolon.toml";
/// The variable that names another file.
const FILE_VARIABLE: &str = "SYMBOLON_CONFIG";

/// The settings that were given, as text; a higher layer replaces a lower one.
#[derive(Debug, Default)]
pub struct Layers {
    given: BTreeMap<&'static str, Given>,
    /// Settings that were given by their former names.
    given_formerly: BTreeMap<&'static str, Given>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Given {
    text: String,
    /// The variable, flag or file, as messages name it.
    source: String,
}

impl Layers {
    /// Collects all layers. `file` was named on the command line.
    ///
    /// # Errors
    /// An unreadable file, or one with settings that don't exist.
    pub fn collect(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, ConfigError> {
        let environment: BTreeMap<String, String> =
            environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        let mut layers = Self::default();
        match file.or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from)) {
            Some(path) => layers.add_file(&path)?,
            None if Path::new(FILE).exists() => layers.add_file(Path::new(FILE))?,
            None => {}
        }
        for (variable, text) in environment {
            let name = variable[PREFIX.len()..].to_ascii_lowercase();
            match Named::find(&name) {
                Some(named) if variable == variable_of(&name) => layers.set(named, text, variable),
                _ if variable == FILE_VARIABLE => {}
                _ => {
                    layers.warnings.push(format!("the environment variable {variable} is not a setting; it is ignored"))
                }
            }
        }
        for (name, text) in flags {
            if let Some(named) = Named::find(name) {
                layers.set(named, text, format!("--{}", name.replace('_', "-")));
            }
        }
        layers.adopt_former_names();
        Ok(layers)
    }

    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn set(&mut self, named: Named, text: String, source: String) {
        let given = if named.is_former { &mut self.given_formerly } else { &mut self.given };
        given.insert(named.setting.name, Given { text, source });
    }

    /// Adopts settings given by their former names, unless they were given by their new ones too.
    fn adopt_former_names(&mut self) {
        for (name, given) in std::mem::take(&mut self.given_formerly) {
            let source = &given.source;
            if self.given.contains_key(name) {
                self.warnings.push(format!("{source} is ignored: {name} is set, which is its new name"));
            } else {
                self.warnings.push(format!("{source} is a former name; use {name}"));
                self.given.insert(name, given);
            }
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let shown = path.display();
        let fail = |message: String| ConfigError(vec![message]);
        let text = std::fs::read_to_string(path).map_err(|error| fail(format!("cannot read {shown}: {error}")))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            fail(format!("{shown}, line {}: {}", line_of(&error, &text), error.message()))
        })?;
        let mut errors = Vec::new();
        for (key, value) in table {
            match (Named::find(&key), plain(&value)) {
                (Some(named), Some(text)) if named.is_former => self.set(named, text, format!("{key} in {shown}")),
                (Some(named), Some(text)) => self.set(named, text, shown.to_string()),
                (Some(_), None) => {
                    errors.push(format!("{key} (from {shown}): must be a text, number, on/off or a list of texts"))
                }
                (None, _) => errors.push(format!("{key} (from {shown}): there is no such setting")),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigError(errors)) }
    }

    /// Returns a setting's value from its highest layer, or adds to `errors`.
    pub(super) fn read<T: SettingValue>(
        &self,
        name: &'static str,
        default: &str,
        errors: &mut Vec<String>,
    ) -> Option<T> {
        let given = self.given.get(name);
        match T::from_text(given.map_or(default, |given| &given.text)) {
            Ok(value) => Some(value),
            Err(detail) => {
                errors.push(match given {
                    Some(given) if T::SECRET => format!("{name} (from {}): {detail}", given.source),
                    Some(given) => format!("{name} (from {}): {:?}: {detail}", given.source, given.text),
                    None => format!("{name}: {detail}"),
                });
                None
            }
        }
    }
}

/// Returns the line of a file that an error is about.
pub(super) fn line_of(error: &toml::de::Error, text: &str) -> usize {
    error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1)
}

fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

/// A setting, and whether it was found by its former name.
#[derive(Clone, Copy)]
struct Named {
    setting: &'static SettingInfo,
    is_former: bool,
}

impl Named {
    fn find(name: &str) -> Option<Self> {
        let present = SETTINGS.iter().find(|setting| setting.name == name);
        let former = || SETTINGS.iter().find(|setting| setting.former_name == Some(name));
        present
            .map(|setting| Self { setting, is_former: false })
            .or_else(|| former().map(|setting| Self { setting, is_former: true }))
    }
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        toml::Value::Array(items) => {
            items.iter().map(toml::Value::as_str).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        _ => None,
    }
}
