//! The steps of a story.

use std::time::Duration;

use bytes::Bytes;
use reknit::model::{
    Datacenter, ExpiryRule, Glob, HashRule, HllRule, Keyspace, KeyspaceName, ListRule,
    OnDeleteConflict, Policy, Preference, Rules, StringRule, ZsetRule, unescape,
};

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// Bytes as they are sent.
    Bytes(Bytes),
    /// `@N`: the story's beginning plus so many milliseconds, so that a story fits any server's clock.
    Time(i64),
}

/// What a line of a story does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// `replicas us eu`: there are these replicas, empty, in datacenter order; a replica's datacenter has its name.
    Replicas(Vec<String>),
    /// `us eu: SET a 1` or `all: ...`: clients send this command to these replicas.
    Send {
        /// The replicas; none means all.
        to: Vec<String>,
        /// The command.
        command: Vec<Word>,
    },
    /// `at 1000`: so many milliseconds have passed since the story's beginning.
    At(i64),
    /// `partition eu`: reknit does not reach it.
    Partition(Vec<String>),
    /// `heal eu`: reknit reaches it again.
    Heal(Vec<String>),
    /// `keyspace NAME PATTERN [--skip] [options]`: adds a keyspace; the first that matches owns a key.
    Keyspace(Box<Keyspace>),
    /// `diff [options]`; the options make the policy of every key that no keyspace of the story owns.
    Diff(Box<Policy>),
    /// `repair [options]`.
    Repair(Box<Policy>),
    /// `show`: what each replica holds.
    Show,
}

impl Step {
    /// Reads a step.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some((to, command)) = receivers(text) {
            return Ok(Self::Send {
                to,
                command: words(command)?,
            });
        }
        let mut parts = text.split_whitespace();
        let verb = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        let names = || rest.iter().map(|name| (*name).to_string()).collect();
        match (verb, &rest[..]) {
            ("replicas", [_, _, ..]) => Ok(Self::Replicas(names())),
            ("partition", [_, ..]) => Ok(Self::Partition(names())),
            ("heal", [_, ..]) => Ok(Self::Heal(names())),
            ("at", [millis]) => Ok(Self::At(number(millis)?)),
            ("keyspace", [name, pattern, options @ ..]) => keyspace(name, pattern, options),
            ("diff", options) => Ok(Self::Diff(Box::new(policy(options)?))),
            ("repair", options) => Ok(Self::Repair(Box::new(policy(options)?))),
            ("show", []) => Ok(Self::Show),
            _ => Err(format!("`{text}` is not a step")),
        }
    }
}

/// The replicas before the first colon, if only names stand there, and the command behind it.
fn receivers(text: &str) -> Option<(Vec<String>, &str)> {
    let (names, command) = text.split_once(": ")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ' ';
    if !names.chars().all(is_name) {
        return None;
    }
    let names = names.split_whitespace().filter(|name| *name != "all");
    Some((names.map(String::from).collect(), command))
}

/// Splits a command as redis-cli does: words, and `"quoted"` ones with escapes.
fn words(command: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = command.trim_start();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_word(quoted)?,
            None => bare_word(rest)?,
        };
        words.push(word);
        rest = behind.trim_start();
    }
    Ok(words)
}

fn quoted_word(text: &str) -> Result<(Word, &str), String> {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    let end = end.ok_or_else(|| format!("the quote before `{text}` is not closed"))?;
    let bytes = Bytes::from(unescape(&text[..end])?);
    Ok((Word::Bytes(bytes), &text[end + 1..]))
}

fn bare_word(text: &str) -> Result<(Word, &str), String> {
    let (word, behind) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let word = match word.strip_prefix('@') {
        Some(millis) => Word::Time(number(millis)?),
        None => Word::Bytes(Bytes::copy_from_slice(word.as_bytes())),
    };
    Ok((word, behind))
}

fn number(text: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number"))
}

fn keyspace(name: &str, pattern: &str, options: &[&str]) -> Result<Step, String> {
    let skip = options.contains(&"--skip");
    let others: Vec<&str> = options
        .iter()
        .copied()
        .filter(|word| *word != "--skip")
        .collect();
    Ok(Step::Keyspace(Box::new(Keyspace {
        name: KeyspaceName(name.into()),
        pattern: Glob::new(pattern),
        policy: policy(&others)?,
        skip,
        ..Keyspace::everything()
    })))
}

/// The policy that options describe; without options the default one.
fn policy(options: &[&str]) -> Result<Policy, String> {
    let mut policy = Policy::default();
    for option in options.chunks(2) {
        let [name, value] = option else {
            return Err(format!("`{}` needs a value", option.join(" ")));
        };
        match *name {
            "--prefer" => policy.prefer = value.split(',').map(preference).collect(),
            "--rule" => rule(&mut policy.rules, value)?,
            "--expiry" if *value == "ignore" => policy.expiry.rule = ExpiryRule::Ignore,
            "--tolerance" => policy.expiry.tolerance = millis(value)?,
            "--horizon" => policy.expiry.horizon = millis(value)?,
            "--on-delete-conflict" if *value == "delete-wins" => {
                policy.on_delete_conflict = OnDeleteConflict::DeleteWins;
            }
            _ => return Err(format!("`{name} {value}` is not an option")),
        }
    }
    Ok(policy)
}

fn millis(text: &str) -> Result<Duration, String> {
    let millis = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number of milliseconds"))?;
    Ok(Duration::from_millis(millis))
}

fn preference(word: &str) -> Preference {
    match word {
        "majority" => Preference::Majority,
        "greatest" => Preference::Greatest,
        "skip" => Preference::Skip,
        datacenter => Preference::Datacenter(Datacenter(datacenter.into())),
    }
}

fn rule(rules: &mut Rules, text: &str) -> Result<(), String> {
    match text {
        "string=counter" => rules.string = StringRule::Counter,
        "string=counter-max" => rules.string = StringRule::CounterMax,
        "string=bitmap-or" => rules.string = StringRule::BitmapOr,
        "hash=counter" => rules.hash = HashRule::Counter,
        "hash=counter-max" => rules.hash = HashRule::CounterMax,
        "zset=max" => rules.zset = ZsetRule::Max,
        "zset=min" => rules.zset = ZsetRule::Min,
        "zset=counter" => rules.zset = ZsetRule::Counter,
        "list=lww" => rules.list = ListRule::Lww,
        "hyperloglog=lww" => rules.hyperloglog = HllRule::Lww,
        _ => return Err(format!("`{text}` is not a rule")),
    }
    Ok(())
}
