//! The calling side of one connection: pipelined calls matched to answers by id.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use karri_ring_types::NodeId;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::frame::{Frame, FrameWriter, Kind, Limits, read_frame};
use crate::message::{Method, Request, Response, RpcError};

/// Calls that may wait for their turn on one connection.
const QUEUE_LENGTH_MAX: usize = 256;

type Answer = Result<Response, RpcError>;

#[derive(Default)]
struct Waiting {
    closed: bool,
    calls: HashMap<u64, oneshot::Sender<Answer>>,
}

/// An open connection to a peer.
pub(crate) struct Connection {
    node: NodeId,
    next_id: AtomicU64,
    queue: mpsc::Sender<Frame>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Connection {
    /// Runs the calling side over a stream that has been greeted.
    pub(crate) fn start<S>(node: NodeId, stream: S) -> Arc<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (queue, frames) = mpsc::channel(QUEUE_LENGTH_MAX);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let writing = tokio::spawn(write_all(writer, frames));
        let answers = waiting.clone();
        tokio::spawn(async move {
            if let Err(error) = read_answers(reader, &answers).await {
                tracing::debug!(%node, %error, "connection broke");
            }
            // Dropping the senders tells every caller that its call's fate is unknown.
            let mut waiting = answers.lock();
            waiting.closed = true;
            waiting.calls.clear();
            writing.abort();
        });
        Arc::new(Self { node, next_id: AtomicU64::new(1), queue, waiting })
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.waiting.lock().closed && !self.queue.is_closed()
    }

    /// Sends a call and waits for its answer. Cancelling it forgets the answer.
    pub(crate) async fn call(&self, method: Method, request: Request) -> Answer {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Err(self.unreachable());
            }
            waiting.calls.insert(id, sender);
        }
        let _forget = Forget { id, waiting: &self.waiting };
        let Request { group, head, body } = request;
        let frame = Frame { kind: Kind::Request, method: method.0, id, group, head, body };
        if self.queue.send(frame).await.is_err() {
            return Err(RpcError::Broken { node: self.node });
        }
        receiver.await.unwrap_or(Err(RpcError::Broken { node: self.node }))
    }

    fn unreachable(&self) -> RpcError {
        RpcError::Unreachable { node: self.node, reason: "the connection is closed".to_owned() }
    }
}

/// Takes a call off the list when its caller stops waiting.
struct Forget<'a> {
    id: u64,
    waiting: &'a Mutex<Waiting>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting.lock().calls.remove(&self.id);
    }
}

/// Writes queued frames, flushing when the queue is empty; ends the stream when nobody can queue any more.
pub(crate) async fn write_all<S>(writer: WriteHalf<S>, mut frames: mpsc::Receiver<Frame>) -> io::Result<()>
where
    S: AsyncWrite + Send + 'static,
{
    let mut writer = FrameWriter::new(writer);
    while let Some(frame) = frames.recv().await {
        writer.write(&frame).await?;
        while let Ok(frame) = frames.try_recv() {
            writer.write(&frame).await?;
        }
        writer.flush().await?;
    }
    writer.close().await
}

async fn read_answers<S: AsyncRead>(reader: ReadHalf<S>, waiting: &Mutex<Waiting>) -> io::Result<()> {
    let mut reader = tokio::io::BufReader::with_capacity(64 << 10, reader);
    while let Some(frame) = read_frame(&mut reader, Limits::NODE).await? {
        let Frame { kind, id, head, body, method, .. } = frame;
        let answer = match kind {
            Kind::Response => Ok(Response { head, body }),
            Kind::Failure => Err(RpcError::Remote(String::from_utf8_lossy(&head).into_owned())),
            Kind::UnknownMethod => Err(RpcError::UnknownMethod(method)),
            Kind::Request => return Err(io::Error::new(io::ErrorKind::InvalidData, "a request among answers")),
        };
        if let Some(sender) = waiting.lock().calls.remove(&id) {
            // The caller may just have stopped waiting.
            let _ = sender.send(answer);
        }
    }
    Ok(())
}
