//! The entries of the menu, as data: each is a command of kbo, what is asked for it, and what has to be agreed to.

use super::groups::Group;

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Where it stands.
    pub(super) group: Group,
    /// Its name.
    pub(super) title: &'static str,
    /// What it does, in a few words.
    pub(super) about: &'static str,
    /// The command: the words before the answers.
    pub(super) words: &'static [&'static str],
    /// What is asked for, in this order; each answer adds words.
    pub(super) asks: &'static [Ask],
    /// What has to be agreed to before it runs.
    pub(super) consent: Consent,
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    /// One of the cluster's backups.
    Backup(Which),
    /// Which datasets of the backup chosen before, where it has both.
    Part,
    /// All nodes, or some.
    Nodes,
    /// A line of text.
    Text(Text),
    /// One of these: what is shown, and the words that it stands for.
    Choice(&'static str, &'static [(&'static str, &'static [&'static str])]),
}

/// Which backups are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All.
    Any,
    /// Those that are pinned.
    Pinned,
}

/// A line of text to be typed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    /// What is wanted.
    pub(super) label: &'static str,
    /// The option that takes it; without one it is an argument of its own.
    pub(super) option: Option<&'static str>,
    /// What stands there to begin with; `{backup}` is the backup chosen before.
    pub(super) initial: &'static str,
    /// Whether nothing will do; then nothing is passed on.
    pub(super) may_be_empty: bool,
    /// Whether each of its words is passed on as a value of its own.
    pub(super) many: bool,
}

/// What has to be agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consent {
    /// Nothing: it only looks, writes beside what is there, or asks for itself.
    Free,
    /// A question: there is no plan to show.
    Question,
    /// The plan of `--dry-run`.
    Plan,
    /// The same; the command, which would ask again, is told that it was agreed to.
    PlanThenYes,
    /// The same; where the plan is refused the command itself knows what to ask for.
    PlanOrItself,
}

const fn entry(
    group: Group,
    title: &'static str,
    about: &'static str,
    words: &'static [&'static str],
    asks: &'static [Ask],
    consent: Consent,
) -> Entry {
    Entry {
        group,
        title,
        about,
        words,
        asks,
        consent,
    }
}

const ANY: Ask = Ask::Backup(Which::Any);

const fn file(label: &'static str, initial: &'static str) -> Ask {
    Ask::Text(Text {
        label,
        option: None,
        initial,
        may_be_empty: false,
        many: false,
    })
}

const fn option(label: &'static str, option: &'static str, initial: &'static str, may_be_empty: bool) -> Ask {
    Ask::Text(Text {
        label,
        option: Some(option),
        initial,
        may_be_empty,
        many: false,
    })
}

const HOSTS: Ask = Ask::Text(Text {
    label: "Hosts ([USER@]HOST[:PORT], with spaces between)",
    option: Some("--host"),
    initial: "",
    may_be_empty: false,
    many: true,
});

const AFTERWARDS: Ask = Ask::Choice(
    "What follows?",
    &[
        ("What kbo.toml says", &[]),
        ("A rolling restart", &["--restart", "rolling"]),
        ("A restart of the cluster", &["--restart", "cluster"]),
        ("Nothing", &["--restart", "none"]),
    ],
);

/// Every entry, in the order in which they are shown.
#[rustfmt::skip]
pub(super) const ENTRIES: &[Entry] = &[
    entry(Group::Backup, "Back up everything", "configuration and data; the cluster restarts", &["backup"], &[], Consent::Plan),
    entry(Group::Backup, "Back up the data", "the cluster restarts", &["backup", "--only", "data"], &[], Consent::Plan),
    entry(Group::Backup, "Back up the configuration", "nothing is stopped", &["backup", "--only", "config"], &[], Consent::Free),
    entry(Group::Backup, "List", "every backup in the store", &["list"], &[], Consent::Free),
    entry(Group::Backup, "Show", "nodes and archives of one backup", &["show"], &[ANY], Consent::Free),
    entry(Group::Backup, "Verify", "every file of one backup against its manifest", &["verify"], &[ANY], Consent::Free),
    entry(Group::Backup, "Verify all", "every backup of the cluster", &["verify", "--all"], &[], Consent::Free),
    entry(Group::Backup, "Pin", "keep a backup until it is unpinned", &["pin"],
        &[ANY, option("Why is it kept? (may be left empty)", "--reason", "", true)], Consent::Question),
    entry(Group::Backup, "Unpin", "let a backup be rotated again", &["unpin"], &[Ask::Backup(Which::Pinned)], Consent::Question),
    entry(Group::Backup, "Rotate", "remove the backups that have had their time", &["rotate"], &[], Consent::Plan),
    entry(Group::Backup, "Adopt a cluster id", "after the cluster was formatted anew", &["adopt"],
        &[file("The new cluster id, as the check names it", "")], Consent::Question),
    entry(Group::Backup, "Export", "a backup into one file", &["export"], &[ANY, file("File to write", "{backup}.tar")], Consent::Free),
    entry(Group::Backup, "Import", "a backup from such a file", &["import"],
        &[file("File to read", ""), Ask::Choice("Keep it?", &[("As any other backup", &[]), ("Pin it", &["--pin"])])], Consent::Free),

    entry(Group::Restore, "Restore a backup", "staged, verified, then swapped in", &["restore"], &[ANY, Ask::Part], Consent::PlanThenYes),

    entry(Group::Containers, "Status", "every container, and the last backup", &["status"], &[], Consent::Free),
    entry(Group::Containers, "Start", "in start order, each ready before the next", &["start"], &[Ask::Nodes], Consent::Plan),
    entry(Group::Containers, "Stop", "in stop order", &["stop"], &[Ask::Nodes], Consent::Plan),
    entry(Group::Containers, "Restart", "stop, then start", &["restart"], &[Ask::Nodes], Consent::Plan),
    entry(Group::Containers, "Rolling restart", "one node at a time; the cluster serves on", &["restart", "--rolling"], &[Ask::Nodes], Consent::Plan),
    entry(Group::Containers, "Run", "create and start what is missing", &["run"], &[Ask::Nodes], Consent::Plan),
    entry(Group::Containers, "Recreate", "replace what is otherwise than defined", &["run", "--recreate"], &[Ask::Nodes], Consent::Plan),
    entry(Group::Containers, "Run as in a backup", "make the containers that a backup captured", &["run", "--from"], &[ANY, Ask::Nodes], Consent::Plan),
    entry(Group::Containers, "Remove", "stop and remove containers; data stay", &["remove"], &[Ask::Nodes], Consent::Plan),
    entry(Group::Containers, "Format", "the log dirs of a new cluster", &["format"], &[Ask::Nodes], Consent::PlanOrItself),

    entry(Group::Certificates, "Make", "keystores and truststores from PEM files", &["certs", "make"], &[], Consent::Free),
    entry(Group::Certificates, "Check", "chain, key, names, expiry", &["certs", "check"], &[], Consent::Free),
    entry(Group::Certificates, "Deploy", "stores onto the nodes", &["certs", "deploy"], &[Ask::Nodes, AFTERWARDS], Consent::Plan),
    entry(Group::Certificates, "Roll back", "the stores of before the last deployment", &["certs", "deploy", "--rollback"],
        &[Ask::Nodes, AFTERWARDS], Consent::Plan),

    entry(Group::Cluster, "Status", "every container, and the last backup", &["status"], &[], Consent::Free),
    entry(Group::Cluster, "Check", "everything that a backup needs; touches nothing", &["check"], &[], Consent::Free),
    entry(Group::Cluster, "Recover", "finish what a run that died left undone", &["recover"], &[], Consent::Question),
    entry(Group::Cluster, "Go back", "to what the last restore replaced, where the nodes keep it", &["previous", "restore"], &[], Consent::PlanThenYes),
    entry(Group::Cluster, "Discard", "what a restore replaced; there is no way back then", &["previous", "discard"], &[], Consent::PlanThenYes),

    entry(Group::SetUp, "Write kbo.toml", "from what runs on the nodes", &["init"], &[], Consent::Free),
    entry(Group::SetUp, "Write kbo.toml of one engine", "nodes that are containers of this machine", &["init", "--docker"], &[], Consent::Free),
    entry(Group::SetUp, "Import config.ini", "of the Bash tool, or an Ansible inventory", &["import-config"],
        &[file("File to read", "config.ini"), option("File to write", "--out", "kbo.toml", false)], Consent::Free),
    entry(Group::SetUp, "SSH keys", "host keys, and this machine's key onto the nodes", &["ssh-setup"], &[], Consent::Free),
    entry(Group::SetUp, "SSH keys of new hosts", "the same, before there is a kbo.toml", &["ssh-setup"], &[HOSTS], Consent::Free),
    entry(Group::SetUp, "Schedules", "what runs when, and how it went", &["schedule", "show"], &[], Consent::Free),
    entry(Group::SetUp, "Schedule backups", "every day at a time", &["schedule", "install"],
        &[Ask::Choice("Of what?", &[
            ("Everything: the cluster restarts", &["--kind", "cluster"]),
            ("The data: the cluster restarts", &["--kind", "data"]),
            ("The configuration: nothing is stopped", &["--kind", "config"]),
        ]), option("At what time? (HH:MM)", "--at", "03:00", false)], Consent::Plan),
    entry(Group::SetUp, "Remove a schedule", "its backups stay", &["schedule", "remove"], &[file("Its name", "cluster")], Consent::Plan),
    entry(Group::SetUp, "Shell completions", "how to install them", &["completions", "--help"], &[], Consent::Free),
    entry(Group::SetUp, "All commands", "what there is beside this menu", &["--help"], &[], Consent::Free),
];
