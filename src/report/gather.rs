//! One walk over the store: what the statistics need, by (model, task), metric, method and example.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::attribution::relative_gap;
use crate::store::{Cost, DatasetFacts, Declared, NODES, RunIdentity, Store, Unit};

use super::agreement::Agreement;
use super::by_step::BySteps;
use super::curves::Curves;
use super::error::ReportError;

/// The method that knows nothing; whatever cannot be told from it is no explanation.
pub const RANDOM: &str = "random";

/// A run's numbers, in declared order throughout.
pub struct Gathered {
    pub declared: Declared,
    /// Facts of the plan, and which nodes ran where.
    pub identity: RunIdentity,
    /// One a model and task, those without any unit too.
    pub panels: Vec<Panel>,
    /// What in the store is not what was written, and left out here.
    pub damaged: Vec<String>,
}

/// One model on one task.
pub struct Panel {
    pub model: String,
    pub task: String,
    /// Absent where the run was interrupted before it came here.
    pub dataset: Option<DatasetFacts>,
    /// Examples of which at least one unit is done.
    pub examples: usize,
    /// Names of those examples.
    pub ids: Vec<String>,
    /// What the tokens of an example come to; absent where no unit has any.
    pub asked: Vec<Option<u64>>,
    /// f(x), one an example.
    pub scores: Vec<Option<f64>>,
    /// `cells[metric][method][example]`.
    pub cells: Vec<Vec<Vec<Cell>>>,
    /// One a method.
    pub methods: Vec<MethodTotals>,
    /// Why whole examples are left out, and which.
    pub left_out: BTreeMap<String, BTreeSet<usize>>,
    pub curves: Curves,
    pub by_step: BySteps,
    pub agreement: Agreement,
}

/// What there is of a metric for a method on an example.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// The unit is not done.
    Unfinished,
    /// The whole example is left out.
    LeftOut(String),
    /// The example counts, but this metric has no value on it.
    NoValue(String),
    /// Only other tasks of the run measure it.
    Elsewhere,
    Value {
        mean: f64,
        by_seed: Vec<f64>,
    },
}

/// What a method cost on a task, and what it says of itself.
#[derive(Clone, Debug, Default)]
pub struct MethodTotals {
    pub units: usize,
    /// Of them, those whose example was not left out: only they cost anything.
    pub explained: usize,
    pub attribution: Cost,
    pub evaluation: Cost,
    /// By name, one number an example.
    pub diagnostics: BTreeMap<String, Vec<f64>>,
    /// Completeness gaps in units of the change that is explained, of methods that have them; may be infinite.
    pub gaps: Vec<f64>,
}

impl Panel {
    /// How many examples there are or will be.
    pub fn expected(&self) -> usize {
        self.dataset.as_ref().map_or(0, |dataset| dataset.examples).max(self.examples)
    }

    pub fn units(&self) -> usize {
        self.methods.iter().map(|method| method.units).sum()
    }

    /// What needs all methods of an example at once.
    fn end_example(&mut self, units: &mut Vec<(usize, Unit)>, is_random: impl Fn(usize) -> bool) {
        self.curves.add(units);
        self.by_step.add(units);
        self.agreement.add(self.examples.saturating_sub(1), units, is_random);
        units.clear();
    }
}

impl Gathered {
    pub fn units_done(&self) -> usize {
        self.panels.iter().map(Panel::units).sum()
    }

    /// Whether a task measures a metric, rather than leave it to other tasks of the run.
    pub fn measures(&self, panel: usize, metric: usize) -> bool {
        !self.panels[panel].cells[metric].iter().flatten().any(|cell| *cell == Cell::Elsewhere)
    }

    pub fn units_expected(&self) -> usize {
        self.panels.iter().map(|panel| panel.expected() * self.declared.methods.len()).sum()
    }

    /// Whether every unit of every declared model and task is done.
    pub fn complete(&self) -> bool {
        self.panels.iter().all(|panel| panel.dataset.is_some()) && self.units_done() == self.units_expected()
    }
}

/// Walks over the store; `each` also sees every unit, with what each declared metric came to.
pub fn gather(
    store: &Store,
    mut each: impl FnMut(&Unit, &[Cell]) -> Result<(), ReportError>,
) -> Result<Gathered, ReportError> {
    let declared = store.declared().clone();
    let mut datasets: HashMap<(String, String), DatasetFacts> =
        store.datasets()?.into_iter().map(|dataset| ((dataset.model.clone(), dataset.task.clone()), dataset)).collect();
    let mut panels = Vec::new();
    let mut places = HashMap::new();
    for model in &declared.models {
        for task in &declared.tasks {
            let key = (model.clone(), task.clone());
            panels.push(Panel {
                model: model.clone(),
                task: task.clone(),
                dataset: datasets.remove(&key),
                examples: 0,
                ids: Vec::new(),
                asked: Vec::new(),
                scores: Vec::new(),
                cells: vec![vec![Vec::new(); declared.methods.len()]; declared.metrics.len()],
                methods: vec![MethodTotals::default(); declared.methods.len()],
                left_out: BTreeMap::new(),
                curves: Curves::default(),
                by_step: BySteps::default(),
                agreement: Agreement::new(declared.methods.len()),
            });
            places.insert(key, panels.len() - 1);
        }
    }
    let methods: HashMap<&str, usize> = declared.methods.iter().map(String::as_str).zip(0..).collect();
    let mut current: Option<(usize, String)> = None;
    let mut units: Vec<(usize, Unit)> = Vec::new();
    let is_random = |method: usize| declared.method_of(&declared.methods[method]) == RANDOM;
    let damaged = store.visit(|unit| {
        let place = places.get(&(unit.key.model.clone(), unit.key.task.clone()));
        let (Some(&place), Some(&method)) = (place, methods.get(unit.key.method.as_str())) else { return Ok(()) };
        // Units of one example follow each other.
        if current.as_ref().is_none_or(|(last, id)| *last != place || *id != unit.key.example_id) {
            if let Some((last, _)) = &current {
                panels[*last].end_example(&mut units, is_random);
            }
            let panel = &mut panels[place];
            current = Some((place, unit.key.example_id.clone()));
            panel.examples += 1;
            panel.ids.push(unit.key.example_id.clone());
            panel.asked.push(None);
            panel.scores.push(None);
            for metric in &mut panel.cells {
                metric.iter_mut().for_each(|cells| cells.push(Cell::Unfinished));
            }
        }
        let panel = &mut panels[place];
        let example = panel.examples - 1;
        panel.scores[example] = panel.scores[example].or(unit.score);
        if panel.asked[example].is_none() && !unit.tokens.is_empty() {
            let mut hasher = DefaultHasher::new();
            unit.tokens.hash(&mut hasher);
            panel.asked[example] = Some(hasher.finish());
        }
        let cells: Vec<Cell> = declared.metrics.iter().map(|metric| cell(&unit, &metric.name)).collect();
        each(&unit, &cells)?;
        for (metric, cell) in panel.cells.iter_mut().zip(cells) {
            metric[method][example] = cell;
        }
        if let Some(reason) = &unit.excluded {
            panel.left_out.entry(reason.clone()).or_default().insert(example);
        }
        panel.methods[method].add(&unit);
        units.push((method, unit));
        Ok::<(), ReportError>(())
    })?;
    if let Some((last, _)) = &current {
        panels[*last].end_example(&mut units, is_random);
    }
    for panel in &mut panels {
        for kept in panel.agreement.kept_mut() {
            kept.evidence = store.evidence(&panel.model, &panel.task, &kept.id)?;
        }
    }
    let damaged = damaged.into_iter().map(|damage| damage.what).collect();
    let mut identity = store.identity().clone();
    let placed = store.facts().facts.iter().filter(|(fact, _)| fact.starts_with(NODES));
    identity.facts.extend(placed.map(|(fact, value)| (fact.clone(), value.clone())));
    Ok(Gathered { declared, identity, panels, damaged })
}

impl MethodTotals {
    /// Attribution and evaluation together.
    pub fn cost(&self) -> Cost {
        let mut cost = self.attribution;
        cost += self.evaluation;
        cost
    }

    fn add(&mut self, unit: &Unit) {
        let timing = &unit.timing;
        self.units += 1;
        self.explained += usize::from(unit.excluded.is_none());
        self.attribution += timing.attribution;
        self.evaluation += timing.evaluation;
        self.gaps.extend(relative_gap(&unit.diagnostics));
        for (name, value) in &unit.diagnostics {
            self.diagnostics.entry(name.clone()).or_default().push(*value);
        }
    }
}

/// The mean over seeds, where every seed has a finite number.
fn cell(unit: &Unit, metric: &str) -> Cell {
    if let Some(reason) = &unit.excluded {
        return Cell::LeftOut(reason.clone());
    }
    let Some(value) = unit.metrics.iter().find(|value| value.metric == metric) else {
        return Cell::NoValue("not measured".to_string());
    };
    if value.is_elsewhere() {
        return Cell::Elsewhere;
    }
    if let Some(reason) = &value.excluded {
        return Cell::NoValue(reason.clone());
    }
    match crate::stats::mean(&value.values) {
        Some(mean) => Cell::Value { mean, by_seed: value.values.clone() },
        None => Cell::NoValue("not a finite number".to_string()),
    }
}
