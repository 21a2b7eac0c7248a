//! What the pages show, as plain text: no record, no time and no id is looked at from here on. The templates beside it escape
//! every one of these values.

use askama::Template;

/// What is around every page.
pub struct Frame {
    /// Of the window.
    pub title: String,
    /// The section it belongs to: where the navigation says "here".
    pub at: &'static str,
    /// Updates that wait.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// The program's version.
    pub version: &'static str,
    /// Names this build of the style sheet and the script, so that no browser mixes two.
    pub build: &'static str,
    /// Where the browser reached it.
    pub host: String,
    /// What was typed into the search field.
    pub sought: String,
    /// When the page was made.
    pub now: Clock,
    /// Who is logged in, and as what.
    pub who: Option<(String, String)>,
    /// What the page sends along with whatever changes something.
    pub csrf: Option<String>,
    /// Whether who looks at it may change something, too.
    pub may: bool,
}

/// The log-in page, which has no frame: whoever sees it is nobody yet.
#[derive(Template)]
#[template(path = "login.html")]
pub struct LogInPage {
    pub build: &'static str,
    pub version: &'static str,
    pub csrf: String,
    pub next: String,
    pub wrong: Option<String>,
}

/// The time of day.
pub struct Clock {
    /// `12:46:48 UTC`
    pub time: String,
}

/// A place in the navigation.
pub struct NavItem {
    pub href: &'static str,
    pub icon: &'static str,
    pub short: &'static str,
    pub rest: &'static str,
    pub here: bool,
    pub count: u64,
    pub tone: &'static str,
}

impl Frame {
    /// The navigation.
    pub fn nav(&self) -> Vec<NavItem> {
        let item = |href, icon, short, rest, count, tone| NavItem { href, icon, short, rest, here: self.at == icon, count, tone };
        vec![
            item("/", "overview", "Overview", "", 0, ""),
            item("/decisions", "decisions", "Decisions", "", 0, ""),
            item("/records", "records", "Records", "", 0, ""),
            item("/waiting", "waiting", "Waiting", "", self.waiting, "wait"),
            item("/dead-letters", "letters", "Dead", " letters", self.dead, "dead"),
            item("/systems", "systems", "Systems", "", 0, ""),
        ]
    }
}

/// A word with a tone and an icon: what became of something.
#[derive(Clone, Copy)]
pub struct Kind {
    /// As in filters and rows.
    pub code: &'static str,
    pub word: &'static str,
    pub tone: &'static str,
    pub icon: &'static str,
}

/// A time as people read it; the script keeps `ago` true.
#[derive(Clone)]
pub struct Moment {
    pub iso: String,
    pub full: String,
    pub ago: String,
}

/// A link.
pub struct Link {
    pub text: String,
    pub href: String,
}

/// A value in a table.
#[derive(Clone)]
pub enum Cell {
    /// As JSON says it, text without quotation marks.
    Value(String),
    /// A reference to another record.
    Link(String, String),
    /// The value that won, with its tone.
    Won(String, &'static str),
    /// Not a value: "not said", "cleared".
    Word(String),
}

/// One row of a list of decisions.
pub struct DecisionLine {
    pub update: String,
    pub href: String,
    pub kind: Kind,
    /// `bms:bmsD1`
    pub from: String,
    /// `device · upsert · name, status`
    pub what: String,
    pub reason: String,
    pub by: String,
    pub at: Moment,
}

/// Is everything in sync?
pub struct Verdict {
    pub tone: &'static str,
    pub icon: &'static str,
    pub headline: String,
    pub sentence: String,
}

/// Something that needs a person.
pub struct Need {
    pub tone: &'static str,
    pub icon: &'static str,
    pub count: u64,
    pub what: String,
    pub hint: String,
    pub href: String,
}

/// One number.
pub struct Number {
    pub what: &'static str,
    pub value: String,
    pub unit: &'static str,
    pub hint: String,
    pub tone: &'static str,
}

/// A system in the overview.
pub struct SystemLine {
    pub name: String,
    pub state: Kind,
    pub pending: u64,
    pub unanswered: u64,
    pub failing: u64,
    pub drift: u64,
    pub behind: String,
}

/// A part of the bar of decisions, in thousandths.
pub struct Share {
    pub kind: Kind,
    pub count: usize,
    pub x: usize,
    pub width: usize,
}

#[derive(Template)]
#[template(path = "overview.html")]
pub struct Overview {
    pub frame: Frame,
    pub verdict: Verdict,
    pub needs: Vec<Need>,
    pub numbers: Vec<Number>,
    pub systems: Vec<SystemLine>,
    pub latest: Vec<DecisionLine>,
    pub mix: Vec<Share>,
    pub mix_text: String,
}

/// What a list of decisions was asked for.
#[derive(Default)]
pub struct Asked {
    pub decision: String,
    pub system: String,
    pub entity_type: String,
    pub reason: String,
    pub entity: String,
    /// Something was.
    pub any: bool,
    /// It is not the newest page.
    pub paged: bool,
}

#[derive(Template)]
#[template(path = "decisions.html")]
pub struct Decisions {
    pub frame: Frame,
    pub kinds: Vec<Kind>,
    pub systems: Vec<String>,
    pub types: Vec<String>,
    pub asked: Asked,
    pub problem: Option<String>,
    pub rows: Vec<DecisionLine>,
    pub first: String,
    pub next: Option<String>,
}

/// One field of a decision.
pub struct MergeRow {
    pub field: String,
    pub conflict: bool,
    pub base: Cell,
    pub ours: Cell,
    /// Whose value ours was.
    pub ours_from: String,
    pub theirs: Cell,
    pub outcome: Cell,
    /// Who chose it.
    pub by: String,
}

/// A fact, its value, and whether that is code.
pub type Fact = (&'static str, String, bool);

#[derive(Template)]
#[template(path = "decision.html")]
pub struct DecisionPage {
    pub frame: Frame,
    pub update: String,
    pub update_path: String,
    pub title: String,
    pub kind: Kind,
    pub waits: bool,
    pub reason: String,
    pub record: Option<Link>,
    pub version_before: u64,
    pub version_after: u64,
    pub by: String,
    pub at: Moment,
    pub source: String,
    pub merge_note: String,
    pub nothing: String,
    pub rows: Vec<MergeRow>,
    pub notified: Vec<String>,
    pub facts: Vec<Fact>,
    pub raw: String,
}

/// A record in a list.
pub struct RecordLine {
    pub id: String,
    pub href: String,
    pub title: String,
    pub subtitle: String,
    pub natives: Vec<String>,
    pub state: Kind,
    pub version: u64,
    pub updated: Moment,
}

#[derive(Template)]
#[template(path = "records.html")]
pub struct Records {
    pub frame: Frame,
    pub types: Vec<String>,
    pub entity_type: String,
    pub fields: Vec<String>,
    pub field: String,
    pub value: String,
    pub deleted: bool,
    pub rows: Vec<RecordLine>,
    pub next: Option<String>,
}

/// A system at the head of a record's table.
pub struct HolderHead {
    pub name: String,
    pub native_id: String,
    pub state: Kind,
}

/// How what a system holds of a field stands to the canonical value.
pub enum Standing {
    Same,
    Differs,
    OnItsWay,
    /// It holds it otherwise, and that means the same.
    Meant,
    /// The field is none of its business, or it has not the record.
    Outside,
}

/// What one system holds of one field.
pub struct Held {
    pub system: String,
    pub standing: Standing,
    pub value: Cell,
    /// What the system calls the field, if otherwise.
    pub native_name: String,
    pub note: String,
}

/// One field of a record.
pub struct FieldRow {
    pub field: String,
    pub value: Cell,
    /// `bms, 3 min ago, by longest`
    pub said: String,
    /// In sentences.
    pub story: String,
    pub update: Option<Link>,
    pub held: Vec<Held>,
}

/// One decision in the life of a record.
pub struct Event {
    pub href: String,
    pub kind: Kind,
    pub from: String,
    pub version: String,
    pub reason: String,
    pub at: Moment,
}

#[derive(Template)]
#[template(path = "record.html")]
pub struct RecordPage {
    pub frame: Frame,
    pub entity_type: String,
    pub id: String,
    pub title: String,
    pub state: Kind,
    pub sentence: String,
    pub tag: String,
    pub version: u64,
    pub created: Moment,
    pub updated: Moment,
    pub held_note: String,
    pub systems: Vec<HolderHead>,
    pub fields: Vec<FieldRow>,
    /// Its native records, as `system:native_id`.
    pub natives: Vec<String>,
    /// Neither deleted nor part of another.
    pub live: bool,
    /// Sends a system what it lacks.
    pub resyncs: Vec<Act>,
    pub timeline_note: String,
    pub timeline: Vec<Event>,
}

/// Something that is kept back.
pub struct Brake {
    pub kind: Kind,
    pub what: String,
    pub hint: String,
    pub since: Moment,
    pub act: String,
    pub body: String,
    pub ask: String,
    pub verb: &'static str,
    /// Not to do what waits: where, and what is asked before.
    pub discard: Option<(String, String)>,
}

/// One update that waits.
pub struct WaitingLine {
    pub update: String,
    pub href: String,
    pub who: String,
    pub what: String,
    /// Words, some of which lead somewhere.
    pub waits_for: Vec<(String, Option<String>)>,
    pub attempts: u32,
    pub since: Moment,
}

/// Updates that wait for the same kind of thing.
pub struct WaitingGroup {
    pub code: &'static str,
    pub title: &'static str,
    pub meaning: &'static str,
    /// Nothing happens unless a person does something.
    pub person: bool,
    pub count: u64,
    pub rows: Vec<WaitingLine>,
}

#[derive(Template)]
#[template(path = "waiting.html")]
pub struct WaitingPage {
    pub frame: Frame,
    pub brakes: Vec<Brake>,
    pub groups: Vec<WaitingGroup>,
    pub next: Option<String>,
}

#[derive(Template)]
#[template(path = "waits.html")]
pub struct Waits {
    pub frame: Frame,
    pub update: String,
    pub update_path: String,
    pub title: String,
    pub kind: Kind,
    pub reason: String,
    pub record: Option<Link>,
    pub since: Moment,
    pub retry_at: Option<Moment>,
    pub attempts: String,
    pub source: String,
    pub rows: Vec<MergeRow>,
    pub review: bool,
    pub advice: &'static str,
    pub tag: String,
    pub entity: String,
    /// Values are hidden in it.
    pub hidden: bool,
    pub message: String,
}

/// One dead letter in the list.
pub struct LetterLine {
    pub id: String,
    pub href: String,
    pub reason: String,
    pub from: String,
    pub detail: String,
    pub at: Moment,
}

#[derive(Template)]
#[template(path = "letters.html")]
pub struct Letters {
    pub frame: Frame,
    pub rows: Vec<LetterLine>,
    pub next: Option<String>,
}

#[derive(Template)]
#[template(path = "letter.html")]
pub struct Letter {
    pub frame: Frame,
    pub id: String,
    pub id_path: String,
    pub title: String,
    pub reason: String,
    pub detail: String,
    pub from: String,
    pub at: Moment,
    pub tag: String,
    pub encoding: Option<String>,
    pub body: String,
    /// Values are hidden in it, or all of it.
    pub hidden: bool,
    pub hint: &'static str,
    /// A heading, which may be empty, and a paragraph.
    pub explained: Vec<(String, String)>,
}

/// One direction between a system and the canonical records.
pub struct Flow {
    pub path: String,
    pub tip: String,
    pub tone: &'static str,
    pub stopped: bool,
}

/// One system in the picture.
pub struct Spoke {
    pub name: String,
    pub x: i32,
    pub y: i32,
    pub w: i32,
    pub tone: &'static str,
    pub state: &'static str,
    pub note: String,
    pub into: Flow,
    pub out: Flow,
}

/// All systems around the canonical records, for one width of screen.
pub struct Picture {
    /// Lines several systems share, and the tips of their arrows.
    pub trunks: Vec<String>,
    pub tips: Vec<String>,
    pub class: &'static str,
    pub width: i32,
    pub height: i32,
    pub middle: i32,
    pub hub_x: i32,
    pub hub_y: i32,
    pub hub_w: i32,
    pub hub_h: i32,
    pub hub_text: i32,
    pub hub_note: String,
    pub strata: Vec<(&'static str, String)>,
    pub spokes: Vec<Spoke>,
    pub text: String,
}

/// A button that does something at once.
pub struct Act {
    pub path: String,
    pub body: String,
    pub verb: String,
    /// What is asked before, with what it would do.
    pub ask: String,
}

/// A system with its numbers.
pub struct SystemCard {
    pub name: String,
    pub state: Kind,
    /// What, how many, and a tone if that matters.
    pub counts: Vec<(&'static str, String, &'static str)>,
    pub note: String,
    pub acts: Vec<Act>,
}

#[derive(Template)]
#[template(path = "systems.html")]
pub struct Systems {
    pub frame: Frame,
    pub lede: String,
    pub pictures: Vec<Picture>,
    pub rows: Vec<SystemCard>,
}

/// A field a system holds otherwise than it should.
pub struct DifferenceLine {
    pub href: String,
    pub record: String,
    pub field: String,
    pub held: Cell,
    pub canonical: Cell,
}

#[derive(Template)]
#[template(path = "system.html")]
pub struct SystemPage {
    pub frame: Frame,
    pub row: SystemCard,
    pub differences_note: String,
    pub differences: Vec<DifferenceLine>,
    /// Fields in which it is not corrected any more.
    pub frozen: Vec<DifferenceLine>,
    pub next: Option<String>,
    pub latest: Vec<DecisionLine>,
}

#[derive(Template)]
#[template(path = "help.html")]
pub struct Help {
    pub frame: Frame,
    pub words: Vec<(Kind, &'static str)>,
    pub terms: &'static [(&'static str, &'static str)],
}

#[derive(Template)]
#[template(path = "problem.html")]
pub struct ProblemPage {
    pub frame: Frame,
    pub headline: String,
    pub detail: String,
}
