//! Sharing data between objects without moving it: a holding at the owner, then a commit that uses it.

use std::future::Future;
use std::sync::Arc;

use karri_ring_types::DataId;

use crate::messages::{Answer, Command, Proof, Refusal, Verdict};
use crate::read::Found;
use crate::records::Loan;
use crate::{ObjectService, ServiceError};

/// Data that is held for a commit to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) loan: Loan,
    pub(crate) data: DataId,
    /// Row of the version or part that is to use it.
    pub(crate) row: Vec<u8>,
}

impl ObjectService {
    /// Holds the data of a version for a commit to the row. `SourceChanged`: look at the source again. A holding whose
    /// commit never comes is found by its note, and released.
    pub(crate) async fn hold(&self, source: &Found, row: Vec<u8>) -> Result<Answer<Held>, ServiceError> {
        let Some((data, loan)) = source.record.data.outside() else {
            return Err(ServiceError::Internal("inline data is not shared".to_owned()));
        };
        let proof = match loan {
            Some(loan) => Proof::Holder(loan.holder),
            None => Proof::Version(source.record.version),
        };
        let route = source.data_route().to_vec();
        let (holder, issued) = (self.new_data(), self.clock.now());
        let hold = Command::Hold { route: route.clone(), issued, data, holder, proof, row: row.clone() };
        let answer = self.command::<()>(&route, &hold).await?;
        Ok(answer.map(|()| Held { loan: Loan { route, holder }, data, row }))
    }

    /// Gives up a holding unless its commit succeeded. A refusal is no proof: it may answer a second attempt, while the
    /// first one was carried out or is still under way.
    pub(crate) async fn settle<T>(&self, held: Held, answer: &Result<Answer<T>, ServiceError>) {
        if let Ok(Ok(_)) = answer {
            // Its note stays for the collector: every copy would wait for a command that takes it off.
            return;
        }
        if let Err(error) = self.look_after(&held).await {
            tracing::debug!(%error, data = %held.data, "a holding is left to the collector");
        }
    }

    /// Finds out whether a holding is in use. If not, its row is condemned first, so that no commit can use it later.
    pub(crate) async fn look_after(&self, held: &Held) -> Result<(), ServiceError> {
        let condemn = Command::Condemn { row: held.row.clone(), data: held.loan.holder, extents: Vec::new() };
        match self.execute(&held.row, crate::records::encode(&condemn)).await? {
            Verdict::Condemned => self.give_up(held).await,
            Verdict::Referenced => self.settled(&held.loan, held.data).await,
        }
    }

    /// Releases a holding whose row does not use it and never will. If a version that uses it has been renamed
    /// meanwhile, it is settled and stays.
    async fn give_up(&self, held: &Held) -> Result<(), ServiceError> {
        let Held { loan: Loan { route, holder }, data, .. } = held;
        let unused = Command::HoldingUnused { route: route.clone(), data: *data, holder: *holder };
        self.command::<()>(route, &unused).await?.map_err(ServiceError::from)
    }

    /// Says that a committed version or part uses a holding. Has to be done before it gets another row.
    pub(crate) async fn settled(&self, loan: &Loan, data: DataId) -> Result<(), ServiceError> {
        let settled = Command::HoldingSettled { route: loan.route.clone(), data, holder: loan.holder };
        self.execute::<()>(&loan.route, crate::records::encode(&settled)).await
    }

    /// Releases a holding at the owner of the data, when the version that used it is gone.
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
