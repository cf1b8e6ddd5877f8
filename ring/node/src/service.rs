//! Answers the methods 200..=299.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use karri_ring_rpc::{Caller, Handler, Method, Request, Response};
use karri_ring_types::CHUNK_SIZE_BYTES;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::holder::{Holder, RunBytes};
use crate::wire::{
    self, CHUNKS_PER_READ_MAX, DELETE, EXAMINE, Examine, ExamineReply, IDS_MAX, Ids, LIST, List, ListReply, Nothing,
    READ, REPORT_BAD, Read, Refusal, ReportBad, SCAN, SEAL, SUMMARIES, ScanAll, ScanReply, Seal, Summaries,
    SummariesReply, TOMBSTONED, USAGE, WRITE_RUN, WriteRun,
};

/// Bytes of chunks that are on their way to other nodes; who asks for more waits.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Bytes of one permit of them.
const PERMIT_BYTES: usize = 64 << 10;

/// The server side of a node's extents.
pub(crate) struct ExtentService {
    holder: Holder,
    reports: mpsc::Sender<ReportBad>,
    answers: Arc<Semaphore>,
}

/// Chunks in memory, accounted until the last of them is sent.
struct Accounted {
    bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ExtentService {
    /// `reports` takes what others say of our copies; when it is full a report is dropped and will be made again.
    pub(crate) fn new(holder: Holder, reports: mpsc::Sender<ReportBad>) -> Self {
        Self { holder, reports, answers: Arc::new(Semaphore::new(ANSWER_BYTES_MAX / PERMIT_BYTES)) }
    }

    async fn read(&self, request: &Request) -> Result<Response, String> {
        let ask: Read = parse(request)?;
        let most = ask.count.min(CHUNKS_PER_READ_MAX) * (CHUNK_SIZE_BYTES / PERMIT_BYTES) as u32;
        let memory = self.answers.clone().acquire_many_owned(most).await;
        let mut memory = memory.map_err(|_| "the node is stopping".to_owned())?;
        match self.holder.read(ask).await {
            Ok((reply, bytes)) => {
                // Most chunks of small objects are shorter.
                let spare = memory.num_permits().saturating_sub(bytes.len().div_ceil(PERMIT_BYTES));
                drop(memory.split(spare));
                let body = Bytes::from_owner(Accounted { bytes, _memory: memory });
                Ok(Response { body, ..answer(Ok(reply))? })
            }
            Err(refusal) => answer::<Nothing>(Err(refusal)),
        }
    }
}

#[async_trait]
impl Handler for ExtentService {
    async fn handle(&self, from: Caller, method: Method, request: Request) -> Result<Response, String> {
        if from == Caller::Unauthenticated {
            return Err("extents are for nodes of the cluster".to_owned());
        }
        match method {
            WRITE_RUN => {
                let ask: WriteRun = parse(&request)?;
                let run = RunBytes { first_chunk: ask.first_chunk, bytes: request.body };
                answer(self.holder.write_run(ask.extent, ask.owner, &run, ask.seal).await.map(|()| Nothing))
            }
            SEAL => {
                let ask: Seal = parse(&request)?;
                answer(self.holder.seal(ask.extent, ask.header).await.map(|()| Nothing))
            }
            READ => self.read(&request).await,
            DELETE => {
                let Ids(ids) = parse(&request)?;
                answer(self.holder.delete(ids).await.map(|()| Nothing))
            }
            LIST => {
                let ask: List = parse(&request)?;
                let limit = (ask.limit as usize).min(IDS_MAX);
                let page = self.holder.store().list(ask.partition, ask.after, limit).await;
                answer(page.map(ListReply).map_err(Refusal::from))
            }
            SUMMARIES => {
                let Summaries(partitions) = parse(&request)?;
                let found = partitions.into_iter().map(|partition| self.holder.summaries(partition)).collect();
                answer(Ok(SummariesReply(found)))
            }
            REPORT_BAD => {
                // Reports are hints: when there are too many, the next read of the bad copy makes this one again.
                let _ = self.reports.try_send(parse(&request)?);
                answer(Ok(Nothing))
            }
            USAGE => answer(Ok(self.holder.usage())),
            TOMBSTONED => {
                let Ids(mut ids) = parse(&request)?;
                ids.truncate(IDS_MAX);
                answer(self.holder.tombstoned(ids).await.map(Ids))
            }
            EXAMINE => {
                let ask: Examine = parse(&request)?;
                answer(Ok(ExamineReply(self.holder.examine(ask.copies, ask.deep).await)))
            }
            SCAN => {
                let ask: ScanAll = parse(&request)?;
                answer(self.holder.scan(ask.after, ask.limit).await.map(ScanReply))
            }
            Method(other) => Err(format!("no extent method {other}")),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, String> {
    wire::decode(&request.head).map_err(|error| error.to_string())
}

fn answer<T: Serialize>(outcome: Result<T, Refusal>) -> Result<Response, String> {
    let head = wire::encode(&outcome).map_err(|error| error.to_string())?;
    Ok(Response { head, body: Bytes::new() })
}
