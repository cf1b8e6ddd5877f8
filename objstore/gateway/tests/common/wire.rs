//! A client that writes and reads bytes, and nothing by itself.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Wire<S> {
    pub stream: S,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content of an XML element.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let from = text.find(&format!("<{name}>"))? + name.len() + 2;
        let to = from + text[from..].find(&format!("</{name}>"))?;
        Some(text[from..to].to_owned())
    }

    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the connection is open");
    }

    /// Sends a request and reads its answer.
    pub async fn call(&mut self, head: impl AsRef<str>, body: impl AsRef<[u8]>) -> Reply {
        let no_body = head.as_ref().starts_with("HEAD ");
        self.send([head.as_ref().as_bytes(), body.as_ref()].concat()).await;
        self.reply_of(no_body).await.expect("an answer")
    }

    /// The next answer; `None` when the connection ends first.
    pub async fn reply(&mut self) -> Option<Reply> {
        self.reply_of(false).await
    }

    async fn reply_of(&mut self, no_body: bool) -> Option<Reply> {
        timeout(PATIENCE, self.read_reply(no_body)).await.expect("an answer or the end in time").ok()
    }

    async fn read_reply(&mut self, no_body: bool) -> io::Result<Reply> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut reply = Reply { status, headers, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        if !no_body && status != 100 {
            while self.buffer.len() < length {
                self.fill().await?;
            }
            reply.body = self.buffer.drain(..length).collect();
        }
        Ok(reply)
    }

    async fn fill(&mut self) -> io::Result<()> {
        let mut piece = vec![0; 64 << 10];
        match self.stream.read(&mut piece).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.buffer.extend_from_slice(&piece[..length]);
                Ok(())
            }
        }
    }

    /// Whether nothing but the end of the connection comes.
    pub async fn ends(&mut self) -> bool {
        timeout(PATIENCE, self.fill()).await.expect("the end in time").is_err() && self.buffer.is_empty()
    }
}
