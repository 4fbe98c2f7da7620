//! `symbolon users export`.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;

use super::progress;
use crate::{
    cli::read_on,
    model::UserId,
    server::CommandShards,
    users::transfer::{Export, ExportRecord},
};

/// For its owner only: an export holds password hashes.
const MODE: u32 = 0o600;

/// Where to export to.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A new file; - for standard output
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Go on with a file of an export that broke off
    #[arg(long)]
    resume: bool,
}

/// What is read back of a line to go on after it.
#[derive(Deserialize)]
struct Exported {
    user_id: UserId,
}

/// Exports all users.
pub(super) async fn run(arguments: Arguments, stores: &CommandShards) -> anyhow::Result<ExitCode> {
    let to_stdout = arguments.file.as_os_str() == "-";
    let (output, last): (Box<dyn Write>, _) = match (to_stdout, arguments.resume) {
        (true, true) => bail!("--resume needs the file to go on with"),
        (true, false) => (Box::new(io::stdout().lock()), None),
        (false, false) => (Box::new(create(&arguments.file)?), None),
        (false, true) => {
            let (file, last) = reopen(&arguments.file)?;
            (Box::new(file), last)
        }
    };
    let mut output = BufWriter::with_capacity(1 << 20, output);
    let mut export = Export::new(&stores.shards, last)?;
    let bar = progress::bar(None);
    let mut count = 0;
    loop {
        let page = export.next().await.context("the stores failed: export again with --resume to go on from here")?;
        if page.is_empty() {
            break;
        }
        for user in &page {
            serde_json::to_writer(&mut output, &ExportRecord::of(user))
                .map_err(io::Error::from)
                .and_then(|()| output.write_all(b"\n"))
                .or_else(|error| read_on(Err(error)).map(drop))?;
        }
        count += page.len() as u64;
        bar.set_message(format!("{count} users, {:.0}/s", progress::rate(count, &bar)));
        if !read_on(output.flush())? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (took, rate) = (bar.elapsed().as_secs_f64(), progress::rate(count, &bar));
    bar.finish_and_clear();
    eprintln!("{count} users exported in {took:.1} s ({rate:.0}/s)");
    Ok(ExitCode::SUCCESS)
}

/// A new file for its owner only: it will hold password hashes.
fn create(path: &Path) -> anyhow::Result<File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    created.with_context(|| format!("cannot create {}", path.display()))
}

/// The file of an export that broke off, cut after its last whole line, and the user on that line.
fn reopen(path: &Path) -> anyhow::Result<(File, Option<UserId>)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let (mut whole, mut last) = (0, Vec::new());
    let mut reader = BufReader::with_capacity(1 << 20, &mut file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.last() == Some(&b'\n') {
            whole += line.len() as u64;
            std::mem::swap(&mut last, &mut line);
        }
        line.clear();
    }
    let last = if whole == 0 {
        // An export that broke off in its first line.
        if !begins_like_an_export(&mut file)? {
            bail!("{} is not the file of an export", path.display());
        }
        None
    } else {
        let exported: Result<Exported, _> = serde_json::from_slice(&last);
        Some(exported.with_context(|| format!("{} is not the file of an export", path.display()))?.user_id)
    };
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok((file, last))
}

/// Whether what a file begins with is a part of what an export begins with.
fn begins_like_an_export(file: &mut File) -> io::Result<bool> {
    const BEGINNING: &[u8] = b"{\"login_name\":\"";
    let mut found = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    io::Read::take(&mut *file, BEGINNING.len() as u64).read_to_end(&mut found)?;
    Ok(BEGINNING.starts_with(&found))
}
