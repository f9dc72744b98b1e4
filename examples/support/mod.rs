//! What the examples share: options, progress bars, the JSON line.

use std::fmt::Display;
use std::path::PathBuf;

use exitwave::observe::{ControlFlow, Step};

/// An error that ends an example, with its message.
pub type Failure = Box<dyn std::error::Error>;

/// The command line: `--name value` pairs, and what stands alone.
pub struct Options {
    values: Vec<(String, String)>,
    free: Vec<String>,
}

impl Options {
    /// Reads the command line. `names` are the options that take a value, `flags` those that stand alone; `--help`
    /// prints `help` and ends.
    pub fn read(help: &str, names: &[&str], flags: &[&str]) -> Result<Self, Failure> {
        use lexopt::prelude::*;
        let (mut values, mut free) = (Vec::new(), Vec::new());
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => {
                    println!("{help}");
                    std::process::exit(0);
                }
                Long(name) if names.contains(&name) => {
                    let name = name.to_string();
                    values.push((name, parser.value()?.string()?));
                }
                Long(name) if flags.contains(&name) => values.push((name.to_string(), "true".into())),
                Value(v) => free.push(v.string()?),
                other => return Err(format!("{} (see --help)", other.unexpected()).into()),
            }
        }
        Ok(Options { values, free })
    }

    /// The value of an option, parsed, or its default.
    pub fn get<V: std::str::FromStr>(&self, name: &str, default: V) -> Result<V, Failure>
    where
        V::Err: Display,
    {
        match self.values.iter().rev().find(|(n, _)| n == name) {
            Some((_, v)) => v.parse().map_err(|e| format!("--{name} {v}: {e}").into()),
            None => Ok(default),
        }
    }

    /// Whether a flag was given.
    #[allow(dead_code)]
    pub fn flag(&self, name: &str) -> bool {
        self.values.iter().any(|(n, _)| n == name)
    }

    /// The `i`-th argument that is no option.
    #[allow(dead_code)]
    pub fn free(&self, i: usize) -> Option<&str> {
        self.free.get(i).map(String::as_str)
    }

    /// The folder of `--out`, made if it is not there.
    pub fn out(&self, default: &str) -> Result<PathBuf, Failure> {
        let out = PathBuf::from(self.get("out", default.to_string())?);
        std::fs::create_dir_all(&out).map_err(|e| format!("--out {}: {e}", out.display()))?;
        Ok(out)
    }
}

/// An observer that draws a progress bar with the loss.
#[allow(dead_code, reason = "not every example runs long")]
pub fn progress(title: &'static str) -> impl FnMut(&Step) -> ControlFlow<()> {
    let bar = indicatif::ProgressBar::no_length();
    let style = indicatif::ProgressStyle::with_template("{prefix:28} [{bar:30}] {pos}/{len}  {msg}  {elapsed}");
    bar.set_style(style.expect("a valid template").progress_chars("=> "));
    bar.set_prefix(title);
    move |step: &Step| {
        if bar.length() != Some(step.total as u64) {
            bar.set_length(step.total as u64);
        }
        bar.set_position(step.iteration as u64);
        if step.loss.is_finite() {
            bar.set_message(format!("loss {:.4e}", step.loss));
        }
        if step.iteration == step.total {
            bar.finish();
        }
        ControlFlow::Continue(())
    }
}

/// The largest resident size that this process ever had, where the system tells it (Linux).
#[allow(dead_code, reason = "only the examples that measure memory ask")]
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(1024 * line.split_whitespace().nth(1)?.parse::<u64>().ok()?)
}
