//! The text as a tree of nodes with positions, and the limits that are checked before serde sees
//! it.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::hint;
use super::position::Position;

/// How deep lists and mappings may nest.
const MAX_DEPTH: usize = 64;
/// The most values in a text.
const MAX_NODES: usize = 250_000;
/// Limits on what all aliases together may expand to: values, and bytes of text.
const MAX_ALIASED: usize = 100_000;
const MAX_ALIASED_BYTES: usize = 4 << 20;

/// A problem with the text, independent of the meaning of keys.
#[derive(Debug)]
pub(super) struct Problem {
    pub position: Position,
    pub path: String,
    pub message: String,
}

#[derive(Debug)]
pub(super) struct Node {
    pub position: Position,
    pub kind: Kind,
}

/// Children are indices into the tree.
#[derive(Debug)]
pub(super) enum Kind {
    Scalar { text: String, plain: bool },
    List(Vec<usize>),
    Mapping(Vec<Entry>),
    Alias(usize),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub position: Position,
    pub value: usize,
}

/// A document; the root is the first node.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// The end of a walk along a path.
pub(super) struct Walk<'t, 'p> {
    pub node: &'t Node,
    /// The position of the last key on the path.
    pub key: Option<Position>,
    /// The rest of the path.
    pub rest: &'p str,
}

impl Tree {
    /// Parses one document. The error is one of form: its syntax, no document or several, a
    /// duplicate key or one that is not a text, a tag, nesting too deep, too many aliases.
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        let mut builder = Builder::default();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let position = (*error.marker()).into();
                let (position, message) = match hint::near(text, position) {
                    Some((position, hint)) => (position, hint.to_owned()),
                    None => (position, error.info().to_owned()),
                };
                Problem {
                    position,
                    path: builder.path(),
                    message: format!("invalid YAML: {message}"),
                }
            })?;
            builder.event(event, span.start.into())?;
        }
        let tree = Self { nodes: builder.nodes };
        let null = |node: &Node| matches!(&node.kind, Kind::Scalar { .. } if node.is_null());
        if tree.nodes.first().is_none_or(null) {
            return Err(Problem {
                position: Position { line: 1, column: 1 },
                path: String::new(),
                message: "the file is empty, expected a mapping".into(),
            });
        }
        Ok(tree)
    }

    /// Follows `path` (`policies[0].config.allow[2]`) as far as the tree has it. Keys may contain
    /// any character; the longest that fits is used.
    pub(super) fn walk<'p>(&self, path: &'p str) -> Walk<'_, 'p> {
        let mut walk = Walk { node: &self.nodes[0], key: None, rest: path };
        while let Some((node, key, rest)) = self.step(self.target(walk.node), walk.rest, path) {
            walk = Walk { node, key: key.or(walk.key), rest };
        }
        walk
    }

    fn step<'p>(
        &self,
        node: &Node,
        rest: &'p str,
        path: &str,
    ) -> Option<(&Node, Option<Position>, &'p str)> {
        match &node.kind {
            Kind::List(items) => {
                let (index, rest) = rest.strip_prefix('[')?.split_once(']')?;
                let item = *items.get(index.parse::<usize>().ok()?)?;
                Some((&self.nodes[item], None, rest))
            }
            Kind::Mapping(entries) => {
                let begins = rest.len() == path.len();
                let rest = if begins { rest } else { rest.strip_prefix('.')? };
                let fits = |entry: &&Entry| {
                    rest.strip_prefix(entry.key.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', ':']))
                };
                let entry = entries.iter().filter(fits).max_by_key(|entry| entry.key.len())?;
                let rest = &rest[entry.key.len()..];
                Some((&self.nodes[entry.value], Some(entry.position), rest))
            }
            Kind::Scalar { .. } | Kind::Alias(_) => None,
        }
    }

    fn target<'t>(&'t self, node: &'t Node) -> &'t Node {
        match node.kind {
            // the anchored node is never an alias itself
            Kind::Alias(target) => &self.nodes[target],
            _ => node,
        }
    }

    /// Describes a node. Texts are never shown, because they may be anything; nothing is shown if
    /// it may be a `secret`.
    pub(super) fn describe(&self, node: &Node, secret: bool) -> String {
        match &self.target(node).kind {
            Kind::List(_) => "a list".into(),
            Kind::Mapping(_) => "a mapping".into(),
            Kind::Alias(_) => "an alias".into(),
            Kind::Scalar { .. } if self.target(node).is_null() => "nothing".into(),
            Kind::Scalar { text, plain: true } if is_number(text) => {
                if secret {
                    "a number".into()
                } else {
                    format!("the number `{text}`")
                }
            }
            Kind::Scalar { text, plain: true } if matches!(text.as_str(), "true" | "false") => {
                format!("`{text}`")
            }
            Kind::Scalar { .. } => "a text".into(),
        }
    }
}

impl Node {
    fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// The size of a node, with aliases expanded.
#[derive(Clone, Copy)]
struct Extent {
    nodes: usize,
    /// Of texts and keys.
    bytes: usize,
    /// How deep lists and mappings nest.
    height: usize,
}

/// An anchored node that is complete.
#[derive(Clone, Copy)]
struct Anchor {
    node: usize,
    extent: Extent,
}

/// A list or mapping that has not ended yet.
struct Open {
    node: usize,
    anchor: usize,
    /// how the path continues here: `.key` or `[0]`
    label: String,
    keys: HashSet<String>,
    pending: Option<(String, Position)>,
    extent: Extent,
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchor>,
    aliased: usize,
    aliased_bytes: usize,
    documents: usize,
}

impl Builder {
    fn path(&self) -> String {
        let path: String = self.open.iter().map(|open| open.label.as_str()).collect();
        path.trim_start_matches('.').to_owned()
    }

    /// Makes an error about the innermost open node.
    fn problem<T>(&self, position: Position, message: impl Into<String>) -> Result<T, Problem> {
        Err(Problem { position, path: self.path(), message: message.into() })
    }

    /// Makes an error about the next value in it.
    fn value_problem<T>(
        &self,
        position: Position,
        message: impl Into<String>,
    ) -> Result<T, Problem> {
        let label =
            self.open.last().map(|open| match (&self.nodes[open.node].kind, &open.pending) {
                (Kind::List(items), _) => format!("[{}]", items.len()),
                (_, Some((key, _))) => format!(".{key}"),
                _ => String::new(),
            });
        let path = self.path() + &label.unwrap_or_default();
        Err(Problem {
            position,
            path: path.trim_start_matches('.').to_owned(),
            message: message.into(),
        })
    }

    fn event(&mut self, event: Event<'_>, position: Position) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.problem(position, "a second document, expected only one");
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return self.tag(position);
                }
                let plain = style == ScalarStyle::Plain;
                if let Some(open) = self.open.last_mut()
                    && open.pending.is_none()
                    && matches!(self.nodes[open.node].kind, Kind::Mapping(_))
                {
                    return self.key(text.into_owned(), position);
                }
                if plain && is_too_long_an_integer(&text) {
                    return self.value_problem(
                        position,
                        format!(
                            "the number `{text}` has more than 64 bits, expected a text in quotes"
                        ),
                    );
                }
                let extent = Extent { nodes: 1, bytes: text.len(), height: 0 };
                let kind = Kind::Scalar { text: text.into_owned(), plain };
                let (node, _) = self.add(kind, position)?;
                self.anchor(anchor, Anchor { node, extent });
                self.grow(extent);
            }
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor).copied() else {
                    return self.value_problem(position, "an alias inside its own anchor");
                };
                let Anchor { node, extent } = target;
                self.aliased = self.aliased.saturating_add(extent.nodes);
                self.aliased_bytes = self.aliased_bytes.saturating_add(extent.bytes);
                if self.aliased > MAX_ALIASED {
                    return self.value_problem(
                        position,
                        format!("aliases expand to more than {MAX_ALIASED} values"),
                    );
                }
                if self.aliased_bytes > MAX_ALIASED_BYTES {
                    return self
                        .value_problem(position, "aliases expand to more than 4MiB of text");
                }
                if self.open.len() + extent.height > MAX_DEPTH {
                    return self.too_deep(position);
                }
                self.add(Kind::Alias(node), position)?;
                self.grow(extent);
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(Kind::List(Vec::new()), anchor, tag.is_some(), position)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.start(Kind::Mapping(Vec::new()), anchor, tag.is_some(), position)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let Open { node, anchor, extent, .. } = open;
                    self.anchor(anchor, Anchor { node, extent });
                    self.grow(extent);
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn start(
        &mut self,
        kind: Kind,
        anchor: usize,
        tagged: bool,
        position: Position,
    ) -> Result<(), Problem> {
        if tagged {
            return self.tag(position);
        }
        if self.open.len() == MAX_DEPTH {
            return self.too_deep(position);
        }
        let (node, label) = self.add(kind, position)?;
        self.open.push(Open {
            node,
            anchor,
            label,
            keys: HashSet::new(),
            pending: None,
            extent: Extent { nodes: 1, bytes: 0, height: 1 },
        });
        Ok(())
    }

    fn tag<T>(&self, position: Position) -> Result<T, Problem> {
        self.value_problem(position, "a tag (`!…`), expected a plain value")
    }

    fn too_deep<T>(&self, position: Position) -> Result<T, Problem> {
        self.value_problem(
            position,
            format!("lists and mappings nested more than {MAX_DEPTH} deep"),
        )
    }

    fn key(&mut self, key: String, position: Position) -> Result<(), Problem> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        if !open.keys.insert(key.clone()) {
            return self.problem(position, format!("duplicate key `{key}`"));
        }
        open.extent.bytes = open.extent.bytes.saturating_add(key.len());
        open.pending = Some((key, position));
        Ok(())
    }

    /// Adds a node to the innermost open one; also returns how the path continues to it.
    fn add(&mut self, kind: Kind, position: Position) -> Result<(usize, String), Problem> {
        let value = self.nodes.len();
        if value == MAX_NODES {
            return self.problem(position, format!("more than {MAX_NODES} values"));
        }
        let mut node = Node { position, kind };
        let mut label = String::new();
        if let Some(open) = self.open.last_mut() {
            match &mut self.nodes[open.node].kind {
                Kind::List(items) => {
                    label = format!("[{}]", items.len());
                    items.push(value);
                }
                Kind::Mapping(entries) => {
                    let Some((key, position)) = open.pending.take() else {
                        return self.problem(position, "a key that is not a text");
                    };
                    if node.is_null() {
                        // an absent value has no position of its own
                        node.position = position;
                    }
                    label = format!(".{key}");
                    entries.push(Entry { key, position, value });
                }
                Kind::Scalar { .. } | Kind::Alias(_) => {}
            }
        }
        self.nodes.push(node);
        Ok((value, label))
    }

    fn anchor(&mut self, id: usize, anchor: Anchor) {
        if id > 0 {
            self.anchors.insert(id, anchor);
        }
    }

    fn grow(&mut self, by: Extent) {
        if let Some(Open { extent, .. }) = self.open.last_mut() {
            extent.nodes = extent.nodes.saturating_add(by.nodes);
            extent.bytes = extent.bytes.saturating_add(by.bytes);
            extent.height = extent.height.max(by.height + 1);
        }
    }
}

fn is_number(text: &str) -> bool {
    // Rust also parses some words as numbers: `inf`, `nan`
    text.contains(|letter: char| letter.is_ascii_digit()) && text.parse::<f64>().is_ok()
}

/// Returns whether serde would silently round a plain scalar, such as an info-hash of 40 decimal
/// digits.
fn is_too_long_an_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty()
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<i64>().is_err()
        && text.parse::<u64>().is_err()
}
