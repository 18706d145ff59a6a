//! Why variables of an inventory are not carried over that nothing took.

use super::Ledger;
use super::yaml::Value;

pub(super) const VAULT: &str = "encrypted by ansible-vault: kbo reads no secrets";

/// Why not, by the names of variables; the first that fits.
const WHY: &[(&str, &str)] = &[
    (
        "pass",
        "a secret: kbo logs in with a key (`kbo ssh-setup` asks for the password once) and keeps none",
    ),
    ("secret", "a secret, or a place for them: not read"),
    ("token", "a secret: not read"),
    (
        "credential",
        "credentials are not kbo's; put what a backup is to have into the configuration directory",
    ),
    (
        "certificate",
        "certificates are not read from here; see `[kafka]` of kbo.toml for listeners with TLS",
    ),
    ("python", "kbo needs no Python on the nodes"),
    (
        "_args",
        "kbo speaks SSH itself, and trusts no host key that is not in known_hosts",
    ),
    ("host_key_checking", "host keys are always checked: `kbo ssh-setup`"),
    ("become", "kbo becomes root by `sudo -n`, and nothing else"),
    (
        "ansible_connection",
        "kbo reaches nodes over SSH; see `transport` of kbo.toml",
    ),
    ("key_pub", "it lies beside the private key, or is made of it"),
    ("temp", "nothing is copied on the way"),
    ("shutdown", "it is always the reverse of the start"),
    ("central_", "kbo lays its store out by itself"),
    ("backup_date", "kbo names backups by their time"),
    ("chmod", "owners and modes are kept as they are"),
    ("owner", "owners and modes are kept as they are"),
    (
        "port_",
        "kbo finds the listeners by itself; ports of containers: `ports` under `[defaults.container]`",
    ),
    ("restore_archive", "`kbo restore` names the backup"),
    (
        "docker_command",
        "a command line; write `[defaults.container]` (docs/containers.md)",
    ),
];

/// Gives every key without a fate its reason.
pub(super) fn give(ledger: &mut Ledger) {
    for id in 0..ledger.settings.len() {
        let setting = &ledger.settings[id];
        if setting.fate.is_some() {
            continue;
        }
        let key = setting.key.to_ascii_lowercase();
        let why = match &setting.value {
            Value::Vault => VAULT.to_owned(),
            // It is in the kbo.toml all the same, as a part of those values.
            _ if !setting.used_in.is_empty() => format!("used in {}", setting.used_in.join(", ")),
            _ => WHY
                .iter()
                .find(|(part, _)| key.contains(part))
                .map_or("kbo has no such setting", |(_, why)| why)
                .to_owned(),
        };
        ledger.leave(id, why);
    }
}
