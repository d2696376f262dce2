//! Where is a job's checkpoint? Next to the job file, so that it is found from every working directory. Looks at
//! folders, and writes nothing.

use std::path::{Path, PathBuf};

/// The path of a checkpoint that the job does not name.
#[derive(Debug, Default)]
pub struct CheckpointPlace {
    /// The file.
    pub path: PathBuf,
    /// Why it is not next to the job file, if it is not.
    pub why: Option<String>,
    /// Where earlier versions of this program left it: in the current directory.
    pub before: Option<PathBuf>,
}

impl CheckpointPlace {
    /// For a job file that does not name one.
    pub fn of(job: &Path) -> CheckpointPlace {
        let job = absolute(job);
        let name = job.file_name().unwrap_or_default().to_string_lossy();
        let stem = job.file_stem().unwrap_or_default().to_string_lossy();
        let before = Some(absolute(Path::new(&format!("milvusdm-{stem}.ckpt"))));
        let beside = job.with_file_name(format!("{name}.ckpt"));
        let folder = job.parent().unwrap_or(Path::new("/"));
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        // A job from a pipe has no folder.
        let lasts = std::fs::metadata(&job).map_or(true, |meta| meta.is_file());
        let writable = lasts && rustix::fs::access(folder, access).is_ok();
        let state = state_directory().filter(|_| !writable && folder.exists());
        match state {
            None => CheckpointPlace {
                path: beside,
                why: None,
                before,
            },
            Some(state) => CheckpointPlace {
                // Jobs with the same name in several folders have one each.
                path: state.join(format!("{name}-{:08x}.ckpt", crc32fast::hash(spelt(&job)))),
                why: Some(format!("{} cannot be written", folder.display())),
                before,
            },
        }
    }
}

impl CheckpointPlace {
    /// For a job from standard input: in the state directory. `None` if there is none.
    pub fn of_text(text: &str) -> Option<CheckpointPlace> {
        let name = format!("stdin-{:08x}.ckpt", crc32fast::hash(text.as_bytes()));
        Some(CheckpointPlace {
            path: state_directory()?.join(name),
            why: Some(
                "the job came through standard input and is recognised by its text".to_owned(),
            ),
            before: None,
        })
    }
}

fn spelt(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

/// `$XDG_STATE_HOME/milvusdm`, by default `~/.local/state/milvusdm`; `None` without a home directory.
pub fn state_directory() -> Option<PathBuf> {
    let named = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        // The specification says to ignore relative paths.
        path.is_absolute().then_some(path)
    };
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("milvusdm"))
}

/// An absolute path, with links and dots left as written; an address as it is.
pub fn absolute(path: &Path) -> PathBuf {
    if path.to_string_lossy().contains("://") {
        return path.to_owned();
    }
    // It fails for an empty path only.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A path in a job, with a leading `~` replaced by the home directory.
pub fn from_home(text: String) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('~') else {
        return Ok(text);
    };
    match rest.split_once('/') {
        None if rest.is_empty() => {}
        Some(("", _)) => {}
        // The name of a file.
        None => return Ok(text),
        Some((user, _)) => {
            return Err(format!(
                "`{text}` begins in the home directory of {user}, which is not looked up: write the path in full (`./~{user}` \
                 for a directory of that name)"
            ));
        }
    }
    let home = std::env::var("HOME").ok().filter(|home| !home.is_empty());
    let home =
        home.ok_or_else(|| format!("`{text}` is in the home directory, and HOME is not set"))?;
    Ok(format!("{home}{}", &text[1..]))
}

/// Whether a path stands for several, as in a shell: it has a `*` or `?`, and nothing has that name.
pub fn is_glob(path: &str) -> bool {
    path.contains(['*', '?']) && !Path::new(path).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_lies_beside_its_job() {
        let room = tempfile::tempdir().unwrap();
        let job = room.path().join("migrate.yaml");
        let place = CheckpointPlace::of(&job);
        assert_eq!(place.path, room.path().join("migrate.yaml.ckpt"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(place.before, Some(here.join("milvusdm-migrate.ckpt")));
        assert_eq!(place.why, None);
    }

    #[test]
    fn only_a_whole_first_name_means_the_home_directory() {
        let home = std::env::var("HOME").unwrap();
        let check = |text: &str, expected: &str| {
            assert_eq!(from_home(text.to_owned()).unwrap(), expected);
        };
        check("~/a.index", &format!("{home}/a.index"));
        check("~", &home);
        check("~bob", "~bob");
        let refused = from_home("~bob/a".to_owned()).unwrap_err();
        assert!(refused.contains("home directory of bob"), "{refused}");
        check("a~/b", "a~/b");
    }
}
