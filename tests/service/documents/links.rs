//! Links between the documents.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Component, Path, PathBuf},
};

use super::pages::{files, read, root};

const PAGES: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md"];

/// The documents that people write, as paths in the checkout; not the reports of single benchmark runs.
fn pages() -> BTreeSet<PathBuf> {
    let inner = |path: PathBuf| path.strip_prefix(root()).expect("a path in the checkout").to_owned();
    let docs = files(&root().join("docs"), "md").into_iter().map(inner);
    docs.filter(|path| !path.starts_with("docs/benchmarks/runs")).chain(PAGES.map(PathBuf::from)).collect()
}

/// The lines of a page that are not code.
fn prose(page: &str) -> Vec<&str> {
    let mut in_code = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    };
    page.lines().filter(is_prose).collect()
}

/// Where the links of a page lead that stay in the repository.
fn relative_links(page: &str) -> Vec<String> {
    let text = prose(page).join("\n");
    // Every other part is between backticks.
    let text: Vec<&str> = text.split('`').step_by(2).collect();
    let text = text.join("code");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchors that a page's headings get from code forges.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let headings = prose(page).into_iter().filter(|line| line.starts_with('#'));
    let titles = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let slugs = titles.map(|title| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    });
    let unique = slugs.map(|slug| {
        let count = seen.entry(slug.clone()).and_modify(|count| *count += 1).or_default();
        if *count == 0 { slug } else { format!("{slug}-{count}") }
    });
    unique.collect()
}

/// A link's file, as a path in the checkout, and its anchor.
fn resolve(page: &Path, link: &str) -> (PathBuf, Option<String>) {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor.to_owned())));
    if file.is_empty() {
        return (page.to_owned(), anchor);
    }
    let mut path = PathBuf::new();
    for part in page.parent().unwrap_or(Path::new("")).join(file).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{}: {link} leaves the repository", page.display()),
            part => path.push(part),
        }
    }
    (path, anchor)
}

#[test]
fn relative_links_lead_to_files_and_headings_that_exist() {
    let mut broken = Vec::new();
    let mut count = 0;
    for page in pages() {
        for link in relative_links(&read(&root().join(&page))) {
            count += 1;
            let (path, anchor) = resolve(&page, &link);
            let target = root().join(&path);
            let leads_somewhere =
                target.exists() && anchor.is_none_or(|anchor| anchors(&read(&target)).contains(&anchor));
            if !leads_somewhere {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(count > 100, "only {count} links were found");
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let mut reached = BTreeSet::new();
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(page) = next.pop() {
        if page.extension().is_some_and(|extension| extension == "md") && reached.insert(page.clone()) {
            let links = relative_links(&read(&root().join(&page)));
            next.extend(links.iter().map(|link| resolve(&page, link).0));
        }
    }
    let lost: Vec<_> = pages().difference(&reached).cloned().collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

/// The files and directories of the checkout that a page names between backticks, and the targets of `make`.
fn named_in_code(page: &str) -> Vec<String> {
    let text = prose(page).join("\n");
    let code = text.split('`').skip(1).step_by(2);
    let named = code.filter(|code| ["scripts/", "tests/", "make "].iter().any(|start| code.starts_with(start)));
    named.map(str::to_owned).collect()
}

#[test]
fn files_and_make_targets_that_the_documents_name_exist() {
    let makefile = read(&root().join("Makefile"));
    let exists = |named: &str| {
        let mut words = named.split([' ', '\n']);
        let path = words.next().unwrap_or_default();
        match (path, words.next()) {
            ("make", Some(target)) => makefile.lines().any(|line| line.starts_with(&format!("{target}:"))),
            // Modules are named without their ending.
            _ => [path.to_owned(), format!("{path}.rs")].iter().any(|path| root().join(path).exists()),
        }
    };
    let named = pages().into_iter().flat_map(|page| named_in_code(&read(&root().join(page))));
    let (existing, missing): (Vec<_>, Vec<_>) = named.partition(|named| exists(named));
    assert!(missing.is_empty(), "{missing:?}");
    assert!(existing.len() > 50, "{existing:?}");
}

#[test]
fn broken_links_and_anchors_are_noticed() {
    let page =
        "# The `first` one: it, too\n## Again\n## Again\n[a](b.md#c) `[no](x)` [web](https://a/)\n```\n[no](y)\n```\n";
    assert_eq!(relative_links(page), ["b.md#c"]);
    assert_eq!(anchors(page), ["again", "again-1", "the-first-one-it-too"].map(str::to_owned).into());
    assert_eq!(resolve(Path::new("docs/a.md"), "../README.md#x"), ("README.md".into(), Some("x".to_owned())));
}
