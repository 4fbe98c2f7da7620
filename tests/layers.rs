//! Which top-level modules of the service may import which: data flows down, and nothing imports upward.

mod order;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    UseTree,
    visit::{self, Visit},
};

use order::LAYERS;

/// The top-level modules that a file names, after `crate::` or after as many `super::` as lead to the crate's root.
struct Imports {
    found: BTreeSet<String>,
    /// How many modules the visited code is in.
    depth: usize,
}

impl Imports {
    fn of(source: &str, depth: usize) -> BTreeSet<String> {
        let mut imports = Self { found: BTreeSet::new(), depth };
        imports.visit_file(&syn::parse_file(source).expect("Rust"));
        imports.found
    }

    fn find_in_use(&mut self, tree: &UseTree, supers: usize) {
        match tree {
            UseTree::Path(path) if path.ident == "crate" => first_names(&path.tree, &mut self.found),
            UseTree::Path(path) if path.ident == "super" && supers + 1 == self.depth => {
                first_names(&path.tree, &mut self.found)
            }
            UseTree::Path(path) if path.ident == "super" => self.find_in_use(&path.tree, supers + 1),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.find_in_use(tree, supers)),
            _ => {}
        }
    }
}

impl Visit<'_> for Imports {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.find_in_use(&item.tree, 0);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let supers = names.iter().take_while(|name| *name == "super").count();
        if names[0] == "crate" {
            self.found.extend(names.get(1).cloned());
        } else if supers > 0 && supers == self.depth {
            self.found.extend(names.get(supers).cloned());
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

/// How many modules the code of a file below `src` is in.
fn depth(path: &Path) -> usize {
    path.iter().count()
}

/// The imports of `module` that are not below it; what is in no layer is not below anything.
fn forbidden(module: &str, source: &str, depth: usize) -> Vec<String> {
    let height = |name: &str| LAYERS.iter().flat_map(|(_, modules)| *modules).position(|other| *other == name);
    let own = height(module);
    assert!(own.is_some(), "module {module} is in no layer: add it to tests/layers/order.rs");
    let is_below = |name: &str| height(name).is_some_and(|height| Some(height) < own);
    Imports::of(source, depth).into_iter().filter(|name| name != module && !is_below(name)).collect()
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
        let forbidden = forbidden(&module, &source, depth(path));
        assert!(
            forbidden.is_empty(),
            "src/{} imports {forbidden:?}, which {module} is below; see tests/layers/order.rs",
            path.display()
        );
    }
}

#[test]
fn an_import_of_a_module_above_is_found_in_every_form() {
    let upward = [
        "use crate::http::auth;",
        "use crate::{clock, http::{auth, json}};",
        "use {crate::http::auth, std::fmt};",
        "use super::{clock, http::auth};",
        "mod tests { use super::super::http; }",
        "fn f(_: crate::http::Json) {}",
        "fn f(_: super::http::Json) {}",
    ];
    for source in upward {
        assert_eq!(forbidden("shards", source, 1), ["http"], "{source}");
    }
    assert_eq!(forbidden("shards", "use super::super::http;", 2), ["http"]);
    assert_eq!(forbidden("shards", "use crate::*;", 1), ["*"]);
    assert!(forbidden("shards", "use super::http;", 2).is_empty(), "a module of its own with this name");
    assert!(forbidden("shards", "use crate::{clock::Timestamp, model::UserId};", 1).is_empty());
    assert!(forbidden("http", "use crate::app::App;", 1).is_empty());
}
