//! Running another program with a time limit.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::env::Env;
use super::error::Seconds;
use super::watch::Watch;

/// What a program that ended by itself left.
pub(crate) struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit status and the last lines that were printed.
    pub fn problem(&self) -> String {
        let printed = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = printed.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(6)..].join("\n  ");
        if last.is_empty() {
            format!("it ended with {}", self.status)
        } else {
            format!("it ended with {}:\n  {last}", self.status)
        }
    }
}

/// Runs `program` in `folder` with the variables of `env` alone, for `limit` at most and until `watch` is
/// interrupted.
///
/// # Errors
/// A sentence when it cannot be started or does not end in time or is interrupted (it is then killed).
pub(crate) fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    folder: &Path,
    env: &Env,
    limit: Duration,
    watch: Option<&Watch>,
) -> Result<Ended, String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(env.iter())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(&mut command).map_err(|error| format!("it cannot be started: {error}"))?;
    // Both pipes are emptied while it runs, or it would block on a full one. The readers are not joined: something that
    // the child left behind may hold a pipe open after the child is gone.
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let is_interrupted = || watch.is_some_and(Watch::is_interrupted);
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline && !is_interrupted() => std::thread::sleep(pause),
            waited => {
                // Nothing more can be done about a child that cannot be killed.
                let _ = child.kill();
                let _ = child.wait();
                return Err(match waited {
                    Err(error) => format!("it cannot be waited for: {error}"),
                    Ok(_) if is_interrupted() => "it was interrupted".to_owned(),
                    Ok(_) => format!("it did not end within {}", Seconds(limit)),
                });
            }
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    let text = |pipe: mpsc::Receiver<Vec<u8>>| {
        let bytes = pipe.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Ended { status, stdout: text(stdout), stderr: text(stderr) })
}

/// A program that was written a moment ago may still be held open by a process that another thread is starting.
fn start(command: &mut Command) -> io::Result<Child> {
    for _ in 0..20 {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
    command.spawn()
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is what there is.
            let _ = pipe.read_to_end(&mut bytes);
        }
        // Nobody listens any more after a time-out.
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<Ended, String> {
        run(Path::new("/bin/sh"), ["-c", script], Path::new("/"), &Env::from_pairs([("A", "b")]), limit, None)
    }

    #[test]
    fn gives_what_was_printed_and_only_the_given_variables() {
        let ended = sh("echo \"$A-$HOME\"; echo oops >&2; exit 3", Duration::from_secs(10)).unwrap();
        assert_eq!(ended.stdout, "b-\n");
        assert!(ended.problem().contains('3') && ended.problem().ends_with("oops"), "{}", ended.problem());
    }

    #[test]
    fn a_full_pipe_does_not_block() {
        let ended =
            sh("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done", Duration::from_secs(20)).unwrap();
        assert_eq!(ended.stdout.len(), 220_000);
    }

    #[test]
    fn ends_when_interrupted() {
        let watch = Watch::default();
        watch.interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
        let (sh, env) = (Path::new("/bin/sh"), Env::from_pairs([("A", "b")]));
        let ended = run(sh, ["-c", "exec /bin/sleep 30"], Path::new("/"), &env, Duration::from_secs(30), Some(&watch));
        assert_eq!(ended.err().unwrap(), "it was interrupted");
    }

    #[test]
    fn ends_at_the_limit() {
        let start = Instant::now();
        let problem = sh("exec /bin/sleep 30", Duration::from_millis(200)).err().unwrap();
        assert!(problem.contains("0.2 s"), "{problem}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
