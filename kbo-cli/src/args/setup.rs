//! Arguments of what makes a kbo.toml and the logins that it needs.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "kbo import-config config.ini
kbo import-config inventories/kafka-on-vms config.ini --name dev --out kbo.toml")]
pub(crate) struct ImportConfigArgs {
    /// The older tool's config.ini, an Ansible inventory (INI or YAML), or the folder of one; group_vars beside it are read too
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Write to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Overwrite it
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// The cluster's name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The folder for backups, instead of the files'
    #[arg(long, value_name = "DIR")]
    pub(crate) cold: Option<String>,
    /// Say what would be carried over, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "kbo ssh-setup                                                   # the nodes of kbo.toml
kbo ssh-setup --host ops@10.0.0.21 --host 10.0.0.22:2222          # before there is one
kbo ssh-setup --known-hosts keys --password-file secret           # nobody is asked"
)]
pub(crate) struct SshSetupArgs {
    /// The nodes of kbo.toml; all where none is named
    #[arg(value_name = "NODE", conflicts_with = "hosts")]
    pub(crate) nodes: Vec<String>,
    /// A host instead of the nodes of kbo.toml; may be repeated
    #[arg(long = "host", value_name = "[USER@]HOST[:PORT]")]
    pub(crate) hosts: Vec<String>,
    /// Whom to log in as, with --host [default: root]
    #[arg(long, value_name = "USER", requires = "hosts")]
    pub(crate) user: Option<String>,
    /// The private key [default: that of kbo.toml, or ~/.ssh/id_ed25519]; made where there is none
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Ask nobody: trust the host keys that stand in this file, and no others
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Option<PathBuf>,
    /// File whose first line is the password, instead of asking for it
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Look at host keys and logins, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "kbo init                                                 # asks
kbo init --host 10.0.0.21 --host ops@10.0.0.31:2222 --name dev --cold /backup/cold
kbo init --docker --name dev --cold /backup/cold         # nodes that are containers of this machine's engine")]
pub(crate) struct InitArgs {
    /// A node's host; may be repeated
    #[arg(long = "host", value_name = "[USER@]HOST[:PORT]", conflicts_with = "docker")]
    pub(crate) hosts: Vec<String>,
    /// Whom to log in as [default: root]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The private key [default: ~/.ssh/id_ed25519, or the keys of ssh-agent where there is none]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The port of the SSH servers [default: 22]
    #[arg(long, value_name = "N")]
    pub(crate) port: Option<u16>,
    /// The host keys to trust [default: ~/.ssh/known_hosts]
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Option<PathBuf>,
    /// Become root on the nodes by sudo -n
    #[arg(long)]
    pub(crate) r#become: bool,
    /// The nodes are containers of one engine: this machine's, or that at this address
    #[arg(long, value_name = "ENGINE", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "given, given with a value, or not given")]
    pub(crate) docker: Option<Option<String>>,
    /// The engine's socket on the nodes [default: /var/run/docker.sock]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) engine_socket: Option<String>,
    /// The cluster's name [default: kafka]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The folder for backups on this machine [default: /backup/cold]
    #[arg(long, value_name = "DIR")]
    pub(crate) cold: Option<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "kbo.toml")]
    pub(crate) out: PathBuf,
    /// Overwrite it
    #[arg(long)]
    pub(crate) force: bool,
    /// Ask nothing: take what was found, and the defaults
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Look, print the kbo.toml that would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SurveyArgs {
    /// The engine: unix:///PATH
    pub(crate) socket: String,
}
