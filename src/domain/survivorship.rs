//! Survivorship rules: which of two values of one field survives.

use serde_json::Value;

use super::ids::SystemName;
use super::provenance::Source;
use super::rules::FirstContact;
use super::time::Timestamp;
use super::value::{compare, is_empty, same, same_held};

/// A declared rule for one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The later decision wins; where both clocks are trusted, the later event.
    Latest,
    /// A lower source never overrides a value that came from a higher one; unlisted ones rank last.
    SourcePriority(Vec<SystemName>),
    /// One system is right as soon as it has spoken; until then the fallback decides.
    SourceOfTruth {
        /// The system that is right.
        system: SystemName,
        /// What decides until it has spoken.
        fallback: Vec<Rule>,
    },
    /// The first value stays.
    First,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// The longer text or array.
    Longest,
    /// The shorter text or array.
    Shortest,
    /// Decides only where exactly one side is null or empty.
    NonEmpty,
    /// All elements of both arrays.
    Union,
    /// Numbers: adds what the source changed; on first contact only fills.
    SumDelta,
}

impl Rule {
    /// The name, as in configurations and decisions.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::SourcePriority(_) => "source_priority",
            Self::SourceOfTruth { .. } => "source_of_truth",
            Self::First => "first",
            Self::Min => "min",
            Self::Max => "max",
            Self::Longest => "longest",
            Self::Shortest => "shortest",
            Self::NonEmpty => "non_empty",
            Self::Union => "union",
            Self::SumDelta => "sum_delta",
        }
    }
}

/// Two values of one field.
#[derive(Clone, Copy, Debug)]
pub struct Contest<'a> {
    /// The canonical value.
    pub current: Option<&'a Value>,
    /// Where it came from.
    pub current_from: Option<&'a Source>,
    /// What the source changed it to; null clears.
    pub incoming: &'a Value,
    /// What the source had before.
    pub base: Option<&'a Value>,
    /// The source.
    pub source: &'a SystemName,
    /// When it happened there, where its clock is trusted (clamped to the time of receipt).
    pub occurred_at: Option<Timestamp>,
    /// Whether the source's record just joins.
    pub first_contact: bool,
    /// Whether it only fills what is empty, unless a rule decides: that it comes later is no reason then.
    pub fills: bool,
    /// When the incoming value was decided, if that is not now.
    pub decided_at: Option<Timestamp>,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq)]
pub enum Survivor {
    /// The canonical value stays.
    Current,
    /// The incoming value wins.
    Incoming,
    /// Neither: this one.
    Combined(Value),
}

/// What a chain of rules says, and which of them decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What survives.
    pub survivor: Survivor,
    /// The rule that decided; `None` if nothing was declared and the default did.
    pub rule: Option<String>,
}

/// Runs a chain: the first rule that decides wins; if none does, the later decision wins.
#[must_use]
pub fn survive(chain: &[Rule], contest: &Contest<'_>) -> Verdict {
    let own = contest.current_from.is_some_and(|from| from.system == *contest.source) && !contest.first_contact;
    for rule in chain {
        // A system may always replace a value whose provenance is itself, so that a mistake can be mended. Rules that
        // combine both values do that in their own way.
        if own && !matches!(rule, Rule::Union | Rule::SumDelta) {
            return Verdict { survivor: Survivor::Incoming, rule: Some(format!("{}: its own earlier value", rule.name())) };
        }
        if let Some((survivor, name)) = decide(rule, contest, own) {
            return Verdict { survivor, rule: Some(name) };
        }
    }
    Verdict { survivor: if own { Survivor::Incoming } else { latest(contest) }, rule: contest.fills.then(|| FirstContact::FILL.to_owned()) }
}

/// Whether a rule ranks the system above the one a value is from: if it says the same, the value is its own from then on.
#[must_use]
pub fn outranks(chain: &[Rule], system: &SystemName, from: Option<&SystemName>) -> bool {
    match chain.first() {
        Some(Rule::SourceOfTruth { system: truth, .. }) => truth == system && from != Some(system),
        Some(Rule::SourcePriority(order)) => from.is_some_and(|from| rank(order, system) < rank(order, from)),
        Some(
            Rule::Latest
            | Rule::First
            | Rule::Min
            | Rule::Max
            | Rule::Longest
            | Rule::Shortest
            | Rule::NonEmpty
            | Rule::Union
            | Rule::SumDelta,
        )
        | None => false,
    }
}

fn decide(rule: &Rule, contest: &Contest<'_>, own: bool) -> Option<(Survivor, String)> {
    let name = if *rule == Rule::Latest { usual(contest) } else { rule.name() }.to_owned();
    let current = contest.current.filter(|value| !value.is_null());
    let survivor = match rule {
        Rule::Latest => latest(contest),
        Rule::SourcePriority(order) => {
            let may = |from: &SystemName| from == contest.source || rank(order, contest.source) < rank(order, from);
            pick(current.is_none() || contest.current_from.is_none_or(|from| may(&from.system)))
        }
        Rule::SourceOfTruth { system, fallback } => return truth(system, fallback, contest, own),
        Rule::First => pick(current.is_none()),
        Rule::Min => ordered(contest, current, std::cmp::Ordering::Less)?,
        Rule::Max => ordered(contest, current, std::cmp::Ordering::Greater)?,
        Rule::Longest => pick(length(contest.incoming)? > current.map_or(Some(0), length)?),
        Rule::Shortest => match current {
            Some(current) => pick(!contest.incoming.is_null() && length(contest.incoming)? < length(current)?),
            None => Survivor::Incoming,
        },
        Rule::NonEmpty => match (current.is_none_or(is_empty), is_empty(contest.incoming)) {
            (true, false) => Survivor::Incoming,
            (false, true) => Survivor::Current,
            (true, true) | (false, false) => return None,
        },
        Rule::Union => union(contest, current, own)?,
        Rule::SumDelta => sum_delta(contest, current)?,
    };
    Some((survivor, name))
}

/// The place of a system among those listed. Two that are not listed rank alike, and a tie keeps the current value.
fn rank(order: &[SystemName], system: &SystemName) -> usize {
    order.iter().position(|listed| listed == system).unwrap_or(order.len())
}

fn pick(incoming: bool) -> Survivor {
    if incoming { Survivor::Incoming } else { Survivor::Current }
}

fn latest(contest: &Contest<'_>) -> Survivor {
    if contest.fills {
        return pick(contest.current.is_none_or(Value::is_null));
    }
    let known = contest.current_from.and_then(|from| from.occurred_at);
    match (contest.occurred_at, known) {
        (Some(incoming), Some(current)) => pick(incoming > current || incoming == current && contest.current.is_none()),
        _ => pick(contest.decided_at.is_none_or(|at| contest.current_from.is_none_or(|from| at > from.at))),
    }
}

/// What decides where no rule does.
const fn usual(contest: &Contest<'_>) -> &'static str {
    if contest.fills { FirstContact::FILL } else { "latest" }
}

fn truth(system: &SystemName, fallback: &[Rule], contest: &Contest<'_>, own: bool) -> Option<(Survivor, String)> {
    if contest.source == system {
        return Some((Survivor::Incoming, format!("source_of_truth: {system}")));
    }
    if contest.current_from.is_some_and(|from| from.system == *system) {
        return Some((Survivor::Current, format!("source_of_truth: {system}")));
    }
    let decided = fallback.iter().find_map(|rule| decide(rule, contest, own));
    let (survivor, name) = decided.unwrap_or_else(|| (latest(contest), usual(contest).to_owned()));
    Some((survivor, format!("source_of_truth: {system} has not spoken yet, so {name}")))
}

fn ordered(contest: &Contest<'_>, current: Option<&Value>, wanted: std::cmp::Ordering) -> Option<Survivor> {
    let Some(current) = current else { return Some(Survivor::Incoming) };
    if contest.incoming.is_null() {
        return Some(Survivor::Current);
    }
    compare(contest.incoming, current).map(|order| pick(order == wanted))
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Null => Some(0),
        Value::String(text) => Some(text.chars().count()),
        Value::Array(items) => Some(items.len()),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn union(contest: &Contest<'_>, current: Option<&Value>, own: bool) -> Option<Survivor> {
    let current = current.map_or(Some(&[][..]), |v| v.as_array().map(Vec::as_slice))?;
    let none = Value::Array(Vec::new());
    let incoming = if contest.incoming.is_null() { &none } else { contest.incoming }.as_array()?;
    let base = contest.base.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let has = |list: &[Value], item: &Value| list.iter().any(|other| same(other, item));
    // Only who put the value there may take elements out of it, and only those it had.
    let taken_out = |item: &Value| own && has(base, item) && !has(incoming, item);
    let mut joined: Vec<Value> = current.iter().filter(|item| !taken_out(item)).cloned().collect();
    for item in incoming {
        if !has(&joined, item) {
            joined.push(item.clone());
        }
    }
    // One order, whatever the order of arrival.
    joined.sort_by(|a, b| compare(a, b).unwrap_or_else(|| a.to_string().cmp(&b.to_string())));
    let joined = Value::Array(joined);
    Some(if same(&joined, contest.incoming) { Survivor::Incoming } else { Survivor::Combined(joined) })
}

fn sum_delta(contest: &Contest<'_>, current: Option<&Value>) -> Option<Survivor> {
    let Some(current) = current else { return Some(Survivor::Incoming) };
    if contest.first_contact {
        return Some(Survivor::Current);
    }
    let base = contest.base.filter(|base| !base.is_null());
    if same_held(base, Some(current)) {
        return Some(Survivor::Incoming);
    }
    let zero = Value::from(0);
    let (current, incoming, base) = (current.as_number()?, contest.incoming.as_number()?, base.unwrap_or(&zero).as_number()?);
    let whole = || current.as_i64()?.checked_add(incoming.as_i64()?.checked_sub(base.as_i64()?)?);
    let sum = whole().map(Value::from).or_else(|| {
        let sum = current.as_f64()? + (incoming.as_f64()? - base.as_f64()?);
        serde_json::Number::from_f64(sum).map(Value::Number)
    })?;
    Some(Survivor::Combined(sum))
}
