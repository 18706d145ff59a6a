//! The node's container as a thing: compared, created, replaced, removed.

use kbo_core::container::{Body, differences};
use kbo_core::ids::RunId;
use kbo_core::ports::node::{ContainerReport, ContainerRequest, ContainerState, NodeError, NodeErrorKind};
use serde_json::Value;

use super::engine::Engine;

/// One container of an engine.
pub(super) struct Container<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) name: &'a str,
}

impl Container<'_> {
    /// Carries a request out.
    pub(super) async fn ask(&self, request: &ContainerRequest) -> Result<ContainerReport, NodeError> {
        let changed = match request {
            ContainerRequest::Compare(body) => return self.compare(body).await,
            ContainerRequest::Create(body) => self.create(body).await?,
            ContainerRequest::Replace { run, body } => self.replace(run, body).await?,
            ContainerRequest::TakeBack(run) => self.take_back(run).await?,
            ContainerRequest::DropReplaced(run) => self.remove(&self.aside(run)).await?,
            ContainerRequest::Remove => self.remove(self.name).await?,
        };
        Ok(if changed {
            ContainerReport::Changed
        } else {
            ContainerReport::Unchanged
        })
    }

    /// The name of what a run has put aside.
    fn aside(&self, run: &RunId) -> String {
        format!("{}.kbo-{run}", self.name)
    }

    async fn state(&self, name: &str) -> Result<ContainerState, NodeError> {
        let found = self.engine.inspect(name).await?;
        Ok(found.map_or(ContainerState::Missing, |container| container.facts.state))
    }

    async fn compare(&self, body: &Body) -> Result<ContainerReport, NodeError> {
        let Some(actual) = self.engine.raw(self.name).await? else {
            let has_image = self.engine.image(body.image()).await?.is_some();
            return Ok(ContainerReport::Missing { has_image });
        };
        // The very image that it was made of: its name may mean another one by now.
        let image = match actual["Image"].as_str() {
            Some(id) => self.engine.image(id).await?,
            None => None,
        };
        Ok(ContainerReport::Differs(differences(
            body,
            &actual,
            &image.unwrap_or(Value::Null),
        )))
    }

    async fn create(&self, body: &Body) -> Result<bool, NodeError> {
        if self.state(self.name).await? != ContainerState::Missing {
            return Ok(false);
        }
        self.fetch(body).await?;
        self.engine.create(self.name, &body.0).await?;
        Ok(true)
    }

    async fn fetch(&self, body: &Body) -> Result<(), NodeError> {
        if self.engine.image(body.image()).await?.is_none() {
            tracing::info!(image = body.image(), "the engine fetches the image");
            self.engine.pull(body.image()).await?;
        }
        Ok(())
    }

    /// Idempotent at every point: what is aside under this run's name is the old container, whatever has the plain name is new.
    async fn replace(&self, run: &RunId, body: &Body) -> Result<bool, NodeError> {
        let aside = self.aside(run);
        if self.state(&aside).await? == ContainerState::Missing {
            // Before anything is moved: an image that cannot be had is no reason to be without a container.
            self.fetch(body).await?;
            match self.state(self.name).await? {
                ContainerState::Missing => {}
                ContainerState::Stopped => self.engine.rename(self.name, &aside).await?,
                state => return Err(self.is_up(self.name, state)),
            }
        }
        self.create(body).await
    }

    async fn take_back(&self, run: &RunId) -> Result<bool, NodeError> {
        let aside = self.aside(run);
        if self.state(&aside).await? == ContainerState::Missing {
            return Ok(false);
        }
        self.remove(self.name).await?;
        self.engine.rename(&aside, self.name).await?;
        Ok(true)
    }

    async fn remove(&self, name: &str) -> Result<bool, NodeError> {
        match self.state(name).await? {
            ContainerState::Missing => Ok(false),
            ContainerState::Stopped => {
                self.engine.remove(name).await?;
                Ok(true)
            }
            state => Err(self.is_up(name, state)),
        }
    }

    fn is_up(&self, name: &str, state: ContainerState) -> NodeError {
        NodeError::new(
            NodeErrorKind::State,
            format!("the container {name} is {state}: only a stopped one is removed"),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake::FakeEngine;
    use super::*;

    fn body(image: &str) -> Body {
        Body(json!({ "Image": image, "HostConfig": {} }))
    }

    fn run() -> RunId {
        "20261124T030000Z".parse().unwrap()
    }

    async fn ask(engine: &FakeEngine, request: ContainerRequest) -> Result<ContainerReport, NodeError> {
        Container { engine, name: "k" }.ask(&request).await
    }

    #[tokio::test]
    async fn a_missing_container_is_created_once() {
        let engine = FakeEngine::new(ContainerState::Missing);
        assert_eq!(
            ask(&engine, ContainerRequest::Compare(body("a"))).await,
            Ok(ContainerReport::Missing { has_image: true })
        );
        assert_eq!(
            ask(&engine, ContainerRequest::Create(body("a"))).await,
            Ok(ContainerReport::Changed)
        );
        assert_eq!(
            ask(&engine, ContainerRequest::Create(body("a"))).await,
            Ok(ContainerReport::Unchanged)
        );
        assert_eq!(engine.calls(), ["create k"]);
    }

    #[tokio::test]
    async fn a_replacement_is_taken_back_or_made_final_and_both_may_be_repeated() {
        for finally in [ContainerRequest::TakeBack(run()), ContainerRequest::DropReplaced(run())] {
            let engine = FakeEngine::new(ContainerState::Stopped);
            for _ in 0..2 {
                let request = ContainerRequest::Replace {
                    run: run(),
                    body: body("b"),
                };
                ask(&engine, request).await.unwrap();
                assert_eq!(engine.containers(), ["k", "k.kbo-20261124T030000Z"]);
            }
            for _ in 0..2 {
                ask(&engine, finally.clone()).await.unwrap();
                assert_eq!(engine.containers(), ["k"]);
                assert_eq!(engine.state(), ContainerState::Stopped);
            }
        }
    }

    #[tokio::test]
    async fn what_runs_is_neither_replaced_nor_removed() {
        let engine = FakeEngine::new(ContainerState::Running);
        for request in [
            ContainerRequest::Remove,
            ContainerRequest::Replace {
                run: run(),
                body: body("b"),
            },
        ] {
            assert_eq!(ask(&engine, request).await.unwrap_err().kind, NodeErrorKind::State);
        }
        assert!(engine.calls().is_empty());
    }

    #[tokio::test]
    async fn an_image_that_cannot_be_had_leaves_the_old_container_where_it_is() {
        let engine = FakeEngine::new(ContainerState::Stopped).without_image();
        let request = ContainerRequest::Replace {
            run: run(),
            body: body("b"),
        };
        ask(&engine, request).await.unwrap_err();
        assert_eq!(engine.calls(), ["pull b"]);
        assert_eq!(engine.state(), ContainerState::Stopped);
    }
}
