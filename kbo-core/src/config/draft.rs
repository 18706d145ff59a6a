//! A kbo.toml in the making: what `kbo init` found or `kbo import-config` read, written as a file with comments.
//!
//! What all nodes have in common goes to `[defaults]` and `[ssh]`; what differs stays at the node.

use std::fmt::Write;

use crate::inventory::Role;

/// A value, and what is to be said about it behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// The comment at the end of its line.
    pub remark: Option<String>,
}

impl<T> Said<T> {
    /// A value of which nothing is to be said.
    pub fn plain(value: T) -> Self {
        Self { value, remark: None }
    }

    /// A value with a comment.
    pub fn with(value: T, remark: impl Into<String>) -> Self {
        Self {
            value,
            remark: Some(remark.into()),
        }
    }
}

/// A line of a table: the key, and the value as TOML has it.
pub type Line = (String, Said<String>);

/// How a node is reached over SSH; what all have in common is written once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftAccess {
    /// The user.
    pub user: Option<String>,
    /// The port, where it is not 22.
    pub port: Option<u16>,
    /// The private key.
    pub key: Option<String>,
    /// Whether sudo is used.
    pub r#become: Option<bool>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftNode {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Said<Role>,
    /// Its host; none through an engine.
    pub host: Option<String>,
    /// The container's name, where it is another.
    pub container: Option<String>,
    /// Its configuration directory.
    pub config: Option<Said<String>>,
    /// Its log dirs.
    pub data: Said<Vec<String>>,
    /// `node.id`
    pub node_id: Option<i32>,
    /// How it is reached.
    pub access: DraftAccess,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Comments at its beginning.
    pub head: Vec<String>,
    /// `cluster.name`
    pub name: Said<String>,
    /// `cluster.id`
    pub id: Option<Said<String>>,
    /// `storage.cold`
    pub cold: Said<String>,
    /// `storage.warn_free_percent`
    pub warn_free_percent: Option<u8>,
    /// Of `[retention]`: the table's name behind it ("" for itself) and the days.
    pub retention: Vec<(String, u32)>,
    /// `ssh.known_hosts`
    pub known_hosts: Option<String>,
    /// `log.file`
    pub log_file: Option<String>,
    /// Whether the nodes are containers of one engine, and of which where it is not the usual one.
    pub docker: Option<Option<String>>,
    /// Tables of containers: `defaults.container`, `defaults.broker.container`; and their lines.
    pub containers: Vec<(String, Vec<Line>)>,
    /// The nodes in start order.
    pub nodes: Vec<DraftNode>,
}

/// A text as TOML has it.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Texts as TOML has them: one alone, several as a list.
pub fn one_or_many(texts: &[String]) -> String {
    match texts {
        [one] => quoted(one),
        many => list(many),
    }
}

/// A list of texts as TOML has it.
pub fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| self::quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

impl Draft {
    /// The file's text.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for line in &self.head {
            comment(&mut text, line);
        }
        let mut page = Page { text };
        page.table("cluster");
        page.line("name", &quoted(&self.name.value), self.name.remark.as_deref());
        if let Some(id) = &self.id {
            let remark = id.remark.as_deref().or(Some("checked against every node"));
            page.line("id", &quoted(&id.value), remark);
        }
        page.table("storage");
        let remark = self.cold.remark.as_deref().or(Some("backups, on this machine"));
        page.line("cold", &quoted(&self.cold.value), remark);
        if let Some(percent) = self.warn_free_percent {
            page.line("warn_free_percent", &percent.to_string(), None);
        }
        for (kind, days) in &self.retention {
            match kind.as_str() {
                "" => page.table("retention"),
                kind => page.table(&format!("retention.{kind}")),
            }
            page.line("days", &days.to_string(), Some("days that a backup stays"));
        }
        self.access(&mut page);
        if let Some(file) = &self.log_file {
            page.table("log");
            page.line("file", &quoted(file), None);
        }
        self.defaults(&mut page);
        for (name, lines) in &self.containers {
            page.table(name);
            lines.iter().for_each(|(key, said)| page.said(key, said));
        }
        for node in &self.nodes {
            self.node(&mut page, node);
        }
        page.text
    }

    /// What all nodes say, where they say the same.
    fn common<T: PartialEq + Clone>(&self, of: impl Fn(&DraftNode) -> Option<T>) -> Option<T> {
        let first = self.nodes.first().and_then(&of)?;
        self.nodes
            .iter()
            .all(|node| of(node).as_ref() == Some(&first))
            .then_some(first)
    }

    fn common_access(&self) -> DraftAccess {
        DraftAccess {
            user: self.common(|node| node.access.user.clone()),
            port: self.common(|node| node.access.port),
            key: self.common(|node| node.access.key.clone()),
            r#become: self.common(|node| node.access.r#become),
        }
    }

    fn access(&self, page: &mut Page) {
        if let Some(host) = &self.docker {
            if let Some(host) = host {
                page.table("docker");
                page.line(
                    "host",
                    &quoted(host),
                    Some("the engine that the nodes are containers of"),
                );
            }
            return;
        }
        let common = self.common_access();
        if common == DraftAccess::default() && self.known_hosts.is_none() {
            return;
        }
        page.table("ssh");
        access_lines(page, &common, &DraftAccess::default());
        if let Some(file) = &self.known_hosts {
            page.line(
                "known_hosts",
                &quoted(file),
                Some("the only host keys that are trusted"),
            );
        }
    }

    fn defaults(&self, page: &mut Page) {
        let config = self.common_config();
        let data = self.common_data();
        if config.is_none() && data.is_none() && self.docker.is_none() {
            return;
        }
        page.table("defaults");
        if self.docker.is_some() {
            page.line("transport", "\"docker\"", Some("paths are those in the containers"));
        }
        let place = if self.docker.is_some() {
            "in the container"
        } else {
            "on the node"
        };
        if let Some(config) = config {
            let usual = format!("holds Kafka's properties file, {place}");
            page.line(
                "config",
                &quoted(&config.value),
                config.remark.as_deref().or(Some(&usual)),
            );
        }
        if let Some(data) = data {
            let usual = format!("Kafka's log dirs, {place}");
            page.line(
                "data",
                &one_or_many(&data.value),
                data.remark.as_deref().or(Some(&usual)),
            );
        }
    }

    fn common_config(&self) -> Option<Said<String>> {
        self.common(|node| node.config.clone())
    }

    fn common_data(&self) -> Option<Said<Vec<String>>> {
        self.common(|node| Some(node.data.clone()))
    }

    fn node(&self, page: &mut Page, node: &DraftNode) {
        page.list("node");
        page.line("name", &quoted(&node.name), None);
        page.line(
            "role",
            &quoted(&node.role.value.to_string()),
            node.role.remark.as_deref(),
        );
        if let Some(host) = &node.host {
            page.line("host", &quoted(host), None);
        }
        if let Some(container) = node.container.as_ref().filter(|container| **container != node.name) {
            page.line("container", &quoted(container), None);
        }
        if let Some(id) = node.node_id {
            page.line("node_id", &id.to_string(), None);
        }
        if let Some(config) = node.config.as_ref().filter(|_| self.common_config().is_none()) {
            page.line("config", &quoted(&config.value), config.remark.as_deref());
        }
        if self.common_data().is_none() {
            page.line("data", &one_or_many(&node.data.value), node.data.remark.as_deref());
        }
        access_lines(page, &node.access, &self.common_access());
    }
}

/// The keys of access that are not said yet.
fn access_lines(page: &mut Page, access: &DraftAccess, said: &DraftAccess) {
    if let Some(user) = access.user.as_ref().filter(|_| said.user.is_none()) {
        page.line("user", &quoted(user), None);
    }
    if let Some(port) = access.port.filter(|_| said.port.is_none()) {
        page.line("port", &port.to_string(), None);
    }
    if let Some(key) = access.key.as_ref().filter(|_| said.key.is_none()) {
        page.line("key", &quoted(key), None);
    }
    if let Some(sudo) = access.r#become.filter(|_| said.r#become.is_none()) {
        page.line("become", &sudo.to_string(), Some("the agent runs by sudo -n"));
    }
}

fn comment(text: &mut String, line: &str) {
    // A line break would end the comment.
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(text, "{}", format!("# {line}").trim_end());
}

struct Page {
    text: String,
}

impl Page {
    fn table(&mut self, name: &str) {
        let _ = write!(self.text, "\n[{name}]\n");
    }

    fn list(&mut self, name: &str) {
        let _ = write!(self.text, "\n[[{name}]]\n");
    }

    fn line(&mut self, key: &str, value: &str, remark: Option<&str>) {
        let setting = format!("{key} = {value}");
        match remark {
            None => {
                let _ = writeln!(self.text, "{setting}");
            }
            Some(remark) => {
                let _ = write!(self.text, "{setting:<43} ");
                comment(&mut self.text, remark);
            }
        }
    }

    fn said(&mut self, key: &str, said: &Said<String>) {
        self.line(key, &said.value, said.remark.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, data: &str) -> DraftNode {
        DraftNode {
            name: name.to_owned(),
            role: Said::plain(Role::Combined),
            host: Some("10.0.0.1".to_owned()),
            container: Some("kafka".to_owned()),
            config: None,
            data: Said::plain(vec![data.to_owned()]),
            node_id: Some(1),
            access: DraftAccess {
                user: Some("ops".to_owned()),
                ..DraftAccess::default()
            },
        }
    }

    fn draft(nodes: Vec<DraftNode>) -> String {
        Draft {
            head: vec!["two\nlines".to_owned()],
            name: Said::plain("dev".to_owned()),
            id: None,
            cold: Said::plain("/cold".to_owned()),
            warn_free_percent: None,
            retention: vec![],
            known_hosts: None,
            log_file: None,
            docker: None,
            containers: vec![],
            nodes,
        }
        .to_toml()
    }

    #[test]
    fn what_nodes_have_in_common_is_written_once() {
        let text = draft(vec![node("a", "/d"), node("b", "/d")]);
        assert_eq!(text.matches("\"/d\"").count(), 1, "{text}");
        assert_eq!(text.matches("\"ops\"").count(), 1, "{text}");
        let text = draft(vec![node("a", "/d"), node("b", "/e")]);
        assert!(text.contains("\"/d\"") && text.contains("\"/e\"") && !text.contains("[defaults]"));
    }

    #[test]
    fn no_text_leaves_its_quotes_or_its_comment() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\u000Ad""#);
        assert!(draft(vec![node("a", "/d")]).starts_with("# two lines\n"));
    }
}
