//! One run of BitBake over the layers: what it is asked, and what it answers. See `yocto-layer/ci/bbread.py`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Yocto, source};

/// Our distribution.
pub(super) const DISTRO: &str = "postern-appliance";

/// Our layers.
pub(super) const LAYERS: [&str; 3] = ["meta-postern", "meta-postern-bsp", "meta-postern-distro"];

/// Layers that ours know of, as stand-ins.
const NEIGHBOURS: [&str; 5] = ["freescale-layer", "raspberrypi", "rauc", "security", "swupdate"];

/// What BitBake is asked.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Name of the build folder; runs with the same name go on where the last one ended.
    pub(super) name: String,
    /// Folder with the layers.
    pub(super) layers: PathBuf,
    /// Which of our layers.
    pub(super) ours: Vec<&'static str>,
    /// Whether the stand-ins of neighbours are there.
    pub(super) neighbours: bool,
    /// Lines of local.conf.
    pub(super) settings: Vec<String>,
    /// Targets whose task graph is worked out.
    pub(super) graphs: Vec<String>,
    /// Recipe and task, in this order.
    pub(super) tasks: Vec<(&'static str, &'static str)>,
    /// Recipe and its variables that are asked for; the empty name is the configuration.
    pub(super) variables: Vec<(&'static str, Vec<&'static str>)>,
}

impl Job {
    /// All layers for `machine` and `distro` with `init`.
    pub(super) fn new(yocto: &Yocto, name: &str, machine: &str, distro: &str, init: &str) -> Self {
        let git = source::repository(yocto);
        let setting = |name: &str, value: &str| format!("{name} = \"{value}\"");
        let settings = vec![
            setting("MACHINE", machine),
            setting("DISTRO", distro),
            setting("INIT_MANAGER", init),
            setting("DL_DIR", &source::downloads(yocto).to_string_lossy()),
            setting("POSTERN_GIT", &format!("git://{};protocol=file;usehead=1", git.display())),
            // Debian's names.
            setting("POSTERN_MKIMAGE", "mkimage"),
            setting("POSTERN_MKENVIMAGE", "mkenvimage"),
            setting("STUB_CARGO_TARGET", &yocto.folder.join("cargo").to_string_lossy()),
        ];
        Self {
            name: name.to_owned(),
            layers: yocto.layers(),
            ours: LAYERS.to_vec(),
            neighbours: true,
            settings,
            graphs: Vec::new(),
            tasks: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// The build folder.
    pub(super) fn build(&self, yocto: &Yocto) -> PathBuf {
        yocto.folder.join("build").join(&self.name)
    }

    fn description(&self, yocto: &Yocto) -> Value {
        let ci = self.layers.join("ci");
        let neighbours = NEIGHBOURS.iter().filter(|_| self.neighbours);
        let layers = std::iter::once(ci.join("stub-core"))
            .chain(neighbours.map(|name| ci.join("stub-neighbours").join(name)))
            .chain(self.ours.iter().map(|name| self.layers.join(name)));
        let variables: serde_json::Map<String, Value> =
            self.variables.iter().map(|(recipe, names)| ((*recipe).to_owned(), json!(names))).collect();
        json!({
            "build": self.build(yocto),
            "layers": layers.collect::<Vec<_>>(),
            "settings": self.settings,
            "graphs": self.graphs,
            "tasks": self.tasks,
            "variables": variables,
        })
    }

    /// Runs it, whatever becomes of it.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub(super) fn try_run(&self, yocto: &Yocto) -> Result<Answer> {
        let build = self.build(yocto);
        fs::create_dir_all(&build)?;
        let (job, answer, log) = (build.join("job.json"), build.join("answer.json"), build.join("log"));
        let _ = fs::remove_file(&answer);
        fs::write(&job, format!("{:#}", self.description(yocto)))?;
        let output = fs::File::create(&log)?;
        let mut bitbake = Command::new(yocto.python());
        bitbake.arg(yocto.layers().join("ci/bbread.py")).arg(&job).arg(&answer);
        bitbake.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // What belongs to the cargo that runs us.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if (text.starts_with("CARGO") && text != "CARGO_HOME") || text == "RUSTFLAGS" || text == "RUSTC" {
                bitbake.env_remove(&name);
            }
        }
        let status = bitbake.status().context("cannot start Python")?;
        let text = fs::read_to_string(&answer)
            .with_context(|| format!("no answer of BitBake ({status}); see {}", log.display()))?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        let end: Vec<&str> = said.lines().rev().take(LOG_LINES).collect();
        let said = end.into_iter().rev().map(|line| format!("  | {line}")).collect();
        Ok(Answer { answer: serde_json::from_str(&text).context("the answer of BitBake is not JSON")?, said })
    }

    /// Runs it; nothing may be wrong.
    ///
    /// # Errors
    /// What BitBake complains of, warnings included.
    pub(super) fn run(&self, yocto: &Yocto) -> Result<Answer> {
        let answer = self.try_run(yocto)?;
        let complaints = answer.complaints();
        if !complaints.is_empty() {
            bail!("BitBake on {}:\n{}", self.name, complaints.join("\n"));
        }
        Ok(answer)
    }
}

/// Lines of what tasks have printed that are shown when something is wrong.
const LOG_LINES: usize = 15;

/// What BitBake answered.
#[derive(Debug)]
pub(super) struct Answer {
    answer: Value,
    /// The last lines that tasks have printed.
    said: Vec<String>,
}

impl Answer {
    /// Errors and warnings.
    pub(super) fn complaints(&self) -> Vec<String> {
        let texts = |key: &str| self.answer[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        let complaints: Vec<String> = texts("errors").chain(texts("warnings")).map(str::to_owned).collect();
        let said = self.said.iter().filter(|_| !complaints.is_empty()).cloned();
        complaints.iter().cloned().chain(said).collect()
    }

    /// How many recipes it has read.
    pub(super) fn parsed(&self) -> u64 {
        self.answer["parsed"].as_u64().unwrap_or_default()
    }

    /// Recipes that were left out.
    pub(super) fn skipped(&self) -> usize {
        self.answer["skipped"].as_object().map_or(0, serde_json::Map::len)
    }

    /// Recipes and number of tasks of a target's graph.
    ///
    /// # Errors
    /// When it was not asked for.
    pub(super) fn graph(&self, target: &str) -> Result<(Vec<&str>, u64)> {
        let graph = &self.answer["graphs"][target];
        let recipes = graph["recipes"].as_array().with_context(|| format!("no graph of {target}"))?;
        Ok((recipes.iter().filter_map(Value::as_str).collect(), graph["tasks"].as_u64().unwrap_or_default()))
    }

    /// Value of a variable; empty when it is not set.
    pub(super) fn variable(&self, recipe: &str, name: &str) -> &str {
        self.answer["variables"][recipe][name].as_str().unwrap_or_default()
    }

    /// Seconds that a task took.
    pub(super) fn seconds(&self, recipe: &str, task: &str) -> f64 {
        self.answer["tasks"][format!("{recipe}:{task}")].as_f64().unwrap_or_default()
    }
}
