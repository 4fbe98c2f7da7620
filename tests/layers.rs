//! Which top-level modules of the service may import which: data flows down, and nothing imports upward.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    UseTree,
    visit::{self, Visit},
};

include!("layers/order.rs");

/// The top-level modules that a file names after `crate::`.
#[derive(Default)]
struct Imports(BTreeSet<String>);

impl Imports {
    fn of(source: &str) -> Self {
        let mut imports = Self::default();
        imports.visit_file(&syn::parse_file(source).expect("Rust"));
        imports
    }
}

impl Visit<'_> for Imports {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let UseTree::Path(path) = &item.tree else { return };
        if path.ident == "crate" {
            first_names(&path.tree, &mut self.0);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let mut segments = path.segments.iter().map(|segment| segment.ident.to_string());
        if segments.next().as_deref() == Some("crate") {
            self.0.extend(segments.next());
        }
        visit::visit_path(self, path);
    }
}

fn first_names(tree: &UseTree, names: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(path) => {
            names.insert(path.ident.to_string());
        }
        UseTree::Name(name) => {
            names.insert(name.ident.to_string());
        }
        UseTree::Rename(rename) => {
            names.insert(rename.ident.to_string());
        }
        UseTree::Glob(_) => {
            names.insert("*".to_owned());
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| first_names(tree, names)),
    }
}

/// Every source file below `directory`, with its text.
fn sources(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("a source file");
            found.insert(path, source);
        }
    }
    found
}

/// The top-level module that a file below `src` belongs to.
fn module(path: &Path) -> String {
    let first = path.iter().next().expect("a file").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The imports of `module` that are not below it.
fn forbidden(module: &str, source: &str) -> Vec<String> {
    let height = |name: &str| LAYERS.iter().flat_map(|(_, modules)| *modules).position(|other| *other == name);
    let own = height(module);
    assert!(own.is_some(), "module {module} is in no layer: add it to tests/layers/order.rs");
    Imports::of(source).0.into_iter().filter(|name| name != module && height(name) >= own).collect()
}

#[test]
fn no_module_imports_one_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&src);
    assert!(files.len() > 100, "{} files", files.len());
    for (path, source) in files {
        let path = path.strip_prefix(&src).expect("below src");
        let module = module(path);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let forbidden = forbidden(&module, &source);
        assert!(
            forbidden.is_empty(),
            "src/{} imports {forbidden:?}, which {module} is below; see tests/layers/order.rs",
            path.display()
        );
    }
}

#[test]
fn an_import_of_a_module_above_is_found_in_every_form() {
    let upward = ["use crate::http::auth;", "use crate::{clock, http::{auth, json}};", "fn f(_: crate::http::Json) {}"];
    for source in upward {
        assert_eq!(forbidden("shards", source), ["http"], "{source}");
    }
    assert_eq!(forbidden("shards", "use crate::*;").len(), 0, "a glob names nothing; clippy refuses it");
    assert!(forbidden("shards", "use crate::{clock::Timestamp, model::UserId};").is_empty());
    assert!(forbidden("http", "use crate::app::App;").is_empty());
}
