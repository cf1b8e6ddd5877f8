//! Sharing data between objects without moving it: a holding at the owner, then a commit that uses it.

use std::future::Future;
use std::sync::Arc;

use karri_ring_types::DataId;

use crate::messages::{Answer, Command, Proof, Refusal, Verdict};
use crate::read::Found;
use crate::records::Loan;
use crate::{ObjectService, ServiceError};

/// Data that is held for a commit to come.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) loan: Loan,
    data: DataId,
    /// Row of the version or part that is to use it.
    row: Vec<u8>,
}

impl ObjectService {
    /// Holds the data of a version for a commit to the row. `SourceChanged`: look at the source again.
    pub(crate) async fn hold(&self, source: &Found, row: Vec<u8>) -> Result<Answer<Held>, ServiceError> {
        let Some((data, loan)) = source.record.data.outside() else {
            return Err(ServiceError::Internal("inline data is not shared".to_owned()));
        };
        let proof = match loan {
            Some(loan) => Proof::Holder(loan.holder),
            None => Proof::Version(source.record.version),
        };
        let route = source.data_route().to_vec();
        let holder = self.new_data();
        let add = Command::AddHolder { route: route.clone(), data, holder, proof };
        let answer = self.command::<()>(&route, &add).await?;
        Ok(answer.map(|()| Held { loan: Loan { route, holder }, data, row }))
    }

    /// Gives up a holding when its commit was refused or is in doubt. A commit in doubt is condemned first, so that
    /// it cannot arrive later.
    pub(crate) async fn settle<T>(&self, held: Held, answer: &Result<Answer<T>, ServiceError>) {
        let settled = match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => self.release(&held.loan, held.data).await,
            Err(_) => self.release_if_unused(&held).await,
        };
        if let Err(error) = settled {
            tracing::warn!(%error, data = %held.data, "a holding stays without use");
        }
    }

    async fn release_if_unused(&self, held: &Held) -> Result<(), ServiceError> {
        let condemn = Command::Condemn { row: held.row.clone(), data: held.loan.holder, extents: Vec::new() };
        match self.execute(&held.row, crate::records::encode(&condemn)).await? {
            Verdict::Condemned => self.release(&held.loan, held.data).await,
            Verdict::Referenced => Ok(()),
        }
    }

    /// Releases a holding at the owner of the data.
    pub(crate) async fn release(&self, loan: &Loan, data: DataId) -> Result<(), ServiceError> {
        let release = Command::ReleaseHolder { route: loan.route.clone(), data, holder: loan.holder };
        self.command::<()>(&loan.route, &release).await?.map_err(ServiceError::from)
    }

    /// Runs a saga to its end even if its request is dropped.
    pub(crate) async fn to_the_end<T, F>(&self, saga: impl FnOnce(Arc<Self>) -> F) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        let service = self.this.upgrade().ok_or(ServiceError::Unavailable)?;
        let task = tokio::spawn(saga(service));
        task.await.map_err(|_| ServiceError::Internal("a saga was cut off".to_owned()))?
    }
}

/// Whether an answer says that the source of a copy has to be looked at again.
pub(crate) fn source_changed<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Err(Refusal::SourceChanged))
}
