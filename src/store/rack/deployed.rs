//! What is asked of a rack beside a run.

use async_trait::async_trait;

use crate::model::{DbIndex, Key};
use crate::store::{
    Access, Deployment, Facts, FunctionOrder, Installed, Refusal, Sample, StoreError, Topology,
};

use super::RackReplica;

#[async_trait]
impl Deployment for RackReplica {
    fn endpoint(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(|node| node.endpoint()).collect();
        nodes.join(",")
    }

    fn user(&self) -> &str {
        self.nodes[0].user()
    }

    /// What any node refuses.
    async fn rehearse(&self, facts: &Facts, access: Access) -> Result<Vec<Refusal>, StoreError> {
        let mut refusals: Vec<Refusal> = Vec::new();
        for node in &self.nodes {
            for refusal in node.rehearse(facts, access).await? {
                let mut known = refusals.iter();
                if known.all(|known| known.command != refusal.command) {
                    refusals.push(refusal);
                }
            }
        }
        Ok(refusals)
    }

    async fn sample(&self, db: Option<DbIndex>, keys: usize) -> Result<Sample, StoreError> {
        let share = keys / self.nodes.len() + 1;
        let mut all = Sample::default();
        for node in &self.nodes {
            let part = node.sample(db, share).await?;
            all.names.extend(part.names);
            all.read += part.read;
            all.bytes += part.bytes;
        }
        Ok(all)
    }

    async fn remove_own(&self, db: Option<DbIndex>, keys: &[Key]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for node in &self.nodes {
            removed += node.remove_own(db, keys).await?;
        }
        Ok(removed)
    }

    async fn install_functions(&self, order: &FunctionOrder) -> Result<Vec<Installed>, StoreError> {
        let mut all = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            all.extend(node.install_functions(order).await?);
        }
        Ok(all)
    }

    async fn topology(&self) -> Result<Option<Topology>, StoreError> {
        Ok(None)
    }
}
