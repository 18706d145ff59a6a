//! A node whose container does not exist yet, as if it did: enough for a helper beside it.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, EndpointSettings, HostConfig, MountPoint, NetworkSettings, VolumeCreateRequest,
};
use bollard::query_parameters::CreateImageOptions;
use futures_util::TryStreamExt;
use kbo_core::container::Body;
use kbo_core::ports::node::NodeError;

use super::DockerSettings;
use super::engine::explain;

/// What the engine would tell of the container that `body` asks for. Volumes that do not exist are made where `settings` allows it,
/// and otherwise left out.
pub(super) async fn inspected(
    docker: &Docker,
    settings: &DockerSettings,
    body: &Body,
) -> Result<ContainerInspectResponse, NodeError> {
    let fail = |doing: &str, error: &Error| explain(&settings.host, doing, error);
    let image = settings.helper_image.as_deref().unwrap_or_else(|| body.image());
    match docker.inspect_image(image).await {
        Ok(_) => {}
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
            let options = CreateImageOptions {
                from_image: Some(image.to_owned()),
                ..Default::default()
            };
            let pulled = docker
                .create_image(Some(options), None, None)
                .try_for_each(|_| async { Ok(()) })
                .await;
            pulled.map_err(|error| {
                fail(&format!("fetch the image {image}"), &error)
                    .hint(format!("docker pull {image}, or docker load, on the engine's machine"))
            })?;
        }
        Err(error) => return Err(fail(&format!("look at the image {image}"), &error)),
    }
    let host: HostConfig = serde_json::from_value(body.0["HostConfig"].clone()).unwrap_or_default();
    let mut mounts = Vec::new();
    for (source, target) in sources(&host) {
        if source.starts_with('/') {
            mounts.push(MountPoint {
                typ: Some("bind".into()),
                source: Some(source),
                destination: Some(target),
                ..Default::default()
            });
            continue;
        }
        let found = if settings.make_volumes {
            let request = VolumeCreateRequest {
                name: Some(source.clone()),
                ..Default::default()
            };
            docker.create_volume(request).await
        } else {
            docker.inspect_volume(&source).await
        };
        match found {
            Ok(volume) => mounts.push(MountPoint {
                typ: Some("volume".into()),
                name: Some(source),
                source: Some(volume.mountpoint),
                destination: Some(target),
                ..Default::default()
            }),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(fail(&format!("look at the volume {source}"), &error)),
        }
    }
    let network = host.network_mode.clone().unwrap_or_else(|| "bridge".to_owned());
    Ok(ContainerInspectResponse {
        image: Some(image.to_owned()),
        host_config: Some(host),
        network_settings: Some(NetworkSettings {
            networks: Some(HashMap::from([(network, EndpointSettings::default())])),
            ..Default::default()
        }),
        mounts: Some(mounts),
        ..Default::default()
    })
}

/// (source, path in the container) of binds and mounts.
fn sources(host: &HostConfig) -> Vec<(String, String)> {
    let binds = host.binds.iter().flatten().filter_map(|bind| {
        let mut parts = bind.split(':');
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    });
    let mounts = host
        .mounts
        .iter()
        .flatten()
        .filter_map(|mount| Some((mount.source.clone()?, mount.target.clone()?)));
    binds.chain(mounts).collect()
}
