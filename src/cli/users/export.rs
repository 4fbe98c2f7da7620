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
    cli::is_reader_open,
    model::UserId,
    server::CommandShards,
    users::transfer::{Export, ExportRecord},
};

/// File mode: readable by the owner only, because an export contains password hashes.
const MODE: u32 = 0o600;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// File to create; - for standard output
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Continue an interrupted export to this file
    #[arg(long)]
    resume: bool,
}

/// The member of an exported line that a resumed export needs.
#[derive(Deserialize)]
struct Exported {
    user_id: UserId,
}

pub(super) async fn run(arguments: Arguments, stores: &CommandShards) -> anyhow::Result<ExitCode> {
    let to_stdout = arguments.file.as_os_str() == "-";
    let (output, last): (Box<dyn Write>, _) = match (to_stdout, arguments.resume) {
        (true, true) => bail!("--resume needs a file; name the file of the interrupted export"),
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
        let page = export.next().await.context("the stores failed; run the export again with --resume to continue")?;
        if page.is_empty() {
            break;
        }
        for user in &page {
            serde_json::to_writer(&mut output, &ExportRecord::of(user))
                .map_err(io::Error::from)
                .and_then(|()| output.write_all(b"\n"))
                .or_else(|error| is_reader_open(Err(error)).map(drop))?;
        }
        count += page.len() as u64;
        bar.set_message(format!("{count} users, {:.0}/s", progress::rate(count, &bar)));
        if !is_reader_open(output.flush())? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (seconds, rate) = (bar.elapsed().as_secs_f64(), progress::rate(count, &bar));
    bar.finish_and_clear();
    eprintln!("{count} users exported in {seconds:.1} s ({rate:.0}/s)");
    Ok(ExitCode::SUCCESS)
}

fn create(path: &Path) -> anyhow::Result<File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    created.with_context(|| format!("cannot create {}", path.display()))
}

/// Opens the file of an interrupted export, truncates it after its last complete line, and returns it with the user on
/// that line.
fn reopen(path: &Path) -> anyhow::Result<(File, Option<UserId>)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let (mut complete_bytes, mut last) = (0, Vec::new());
    let mut reader = BufReader::with_capacity(1 << 20, &mut file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.last() == Some(&b'\n') {
            complete_bytes += line.len() as u64;
            std::mem::swap(&mut last, &mut line);
        }
        line.clear();
    }
    let last = if complete_bytes == 0 {
        // The export was interrupted in its first line.
        if !starts_like_export(&mut file)? {
            bail!("{} is not the file of an export", path.display());
        }
        None
    } else {
        let exported: Result<Exported, _> = serde_json::from_slice(&last);
        Some(exported.with_context(|| format!("{} is not the file of an export", path.display()))?.user_id)
    };
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.set_len(complete_bytes)?;
    file.seek(SeekFrom::Start(complete_bytes))?;
    Ok((file, last))
}

/// Returns whether the file is empty or starts like an export, so that truncating it destroys nothing else.
fn starts_like_export(file: &mut File) -> io::Result<bool> {
    const PREFIX: &[u8] = b"{\"login_name\":\"";
    let mut found = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    io::Read::take(&mut *file, PREFIX.len() as u64).read_to_end(&mut found)?;
    Ok(PREFIX.starts_with(&found))
}
