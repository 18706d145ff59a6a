//! Whose backups a store's are. A name in kbo.toml is not enough: a cluster that is formatted anew keeps its name and gets another id,
//! and neither may the backups of the old one pass for its own, nor be removed for it.

use crate::ids::{ClusterId, ClusterName};
use crate::manifest::Manifest;
use crate::ports::store::{BackupStore, Listed, StoreError};

/// A cluster as its backups know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name in kbo.toml.
    pub name: ClusterName,
    /// Kafka's own id; `None` where nobody has told it yet: then the name decides alone.
    pub id: Option<ClusterId>,
}

/// What a backup is to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belonging {
    /// Its own. A backup that knows no id belongs to the name.
    Own,
    /// Of the same name, and of another id.
    OtherId(ClusterId),
    /// Of another name.
    OtherName(ClusterName),
}

impl Identity {
    /// What a backup is to this cluster.
    pub fn of(&self, manifest: &Manifest) -> Belonging {
        if manifest.cluster != self.name {
            return Belonging::OtherName(manifest.cluster.clone());
        }
        match (&self.id, &manifest.cluster_id) {
            (Some(ours), Some(its)) if ours != its => Belonging::OtherId(its.clone()),
            _ => Belonging::Own,
        }
    }

    /// Whether a backup is this cluster's own; none whose manifest cannot be read is.
    pub fn owns(&self, backup: &Listed) -> bool {
        backup
            .manifest
            .as_ref()
            .is_ok_and(|manifest| self.of(manifest) == Belonging::Own)
    }
}

/// The identity by which the backups of a cluster are chosen: the id of kbo.toml, else the one that the store has noted, else that of
/// the newest backup of this name (a store of kbo 0.1.0 has noted none).
///
/// # Errors
/// The store's note cannot be read.
pub async fn identity(
    store: &dyn BackupStore,
    name: &ClusterName,
    configured: Option<&ClusterId>,
    listed: &[Listed],
) -> Result<Identity, StoreError> {
    let id = match configured {
        Some(configured) => Some(configured.clone()),
        None => match store.adopted_id(name).await? {
            Some(noted) => Some(noted),
            None => newest_id(name, listed),
        },
    };
    Ok(Identity { name: name.clone(), id })
}

fn newest_id(name: &ClusterName, listed: &[Listed]) -> Option<ClusterId> {
    let manifests = listed.iter().filter_map(|backup| backup.manifest.as_ref().ok());
    let ours = manifests.filter(|manifest| manifest.cluster == *name && manifest.cluster_id.is_some());
    ours.max_by_key(|manifest| manifest.created)?.cluster_id.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{BackupKind, FORMAT};

    fn manifest(cluster: &str, id: Option<&str>, created: &str) -> Manifest {
        let created = created.parse().unwrap();
        Manifest {
            format: FORMAT,
            id: crate::ids::BackupId::at(created),
            kind: BackupKind::Cluster,
            cluster: cluster.parse().unwrap(),
            cluster_id: id.map(|id| id.parse().unwrap()),
            kbo_version: "0.1.0".to_owned(),
            created,
            committed: created,
            window: None,
            caveats: vec![],
            damage: None,
            degraded: vec![],
            nodes: vec![],
            archives: vec![],
        }
    }

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBB";

    #[test]
    fn a_backup_belongs_by_name_and_id_and_by_name_alone_where_it_has_no_id() {
        let ours = Identity {
            name: "dev".parse().unwrap(),
            id: Some(A.parse().unwrap()),
        };
        let of = |cluster, id| ours.of(&manifest(cluster, id, "2026-11-22T03:00:00Z"));
        assert_eq!(of("dev", Some(A)), Belonging::Own);
        assert_eq!(of("dev", None), Belonging::Own);
        assert_eq!(of("dev", Some(B)), Belonging::OtherId(B.parse().unwrap()));
        assert_eq!(of("test", Some(A)), Belonging::OtherName("test".parse().unwrap()));
    }

    #[test]
    fn without_a_note_the_newest_backup_of_the_name_tells_the_id() {
        let listed = |manifest: Manifest| Listed {
            id: manifest.id.clone(),
            kind: manifest.kind,
            pinned: false,
            pin: None,
            missing: None,
            manifest: Ok(manifest),
        };
        let store = [
            listed(manifest("dev", Some(A), "2026-11-20T03:00:00Z")),
            listed(manifest("dev", Some(B), "2026-11-21T03:00:00Z")),
            listed(manifest("dev", None, "2026-11-22T03:00:00Z")),
            listed(manifest("test", Some(A), "2026-11-23T03:00:00Z")),
        ];
        assert_eq!(newest_id(&"dev".parse().unwrap(), &store), Some(B.parse().unwrap()));
        assert_eq!(newest_id(&"none".parse().unwrap(), &store), None);
    }
}
