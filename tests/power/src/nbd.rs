//! The disk over the network block device protocol, as QEMU speaks it.
//!
//! Source: the NBD project, "The NBD protocol" (`doc/proto.md`): fixed newstyle negotiation, simple replies.

use std::io::{self, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// Fixed newstyle, and no zeroes behind the answer to an option.
const HANDSHAKE_FLAGS: u16 = 1 | 2;
const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = (1 << 31) + 1;
/// It has flags, flushes, and takes the flag of a write that is flushed by itself.
const EXPORT_FLAGS: u16 = 1 | 4 | 8;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const FLAG_DURABLE: u16 = 1;
/// `EINVAL`.
const INVALID: u32 = 22;

/// Longest request; QEMU asks for 32 MiB at most.
const LENGTH_MAX: u32 = 64 << 20;
/// Longest text of an option.
const OPTION_BYTES_MAX: u32 = 64 << 10;

/// Serves the disk to the first that connects to a socket.
///
/// # Errors
/// When there can be no socket at `path`.
pub fn serve(disk: Arc<Disk>, path: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    std::thread::Builder::new().name("disk".into()).spawn(move || {
        // A machine that is killed breaks its connection.
        let _ = listener.accept().and_then(|(stream, _)| connection(&disk, stream));
    })?;
    Ok(())
}

fn connection(disk: &Disk, mut stream: UnixStream) -> io::Result<()> {
    if negotiate(disk, &mut stream)? {
        while transmit(disk, &mut stream)? {}
    }
    Ok(())
}

fn bytes<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take(stream: &mut UnixStream, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn expect(right: bool, what: &str) -> io::Result<()> {
    if right { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned())) }
}

/// True when requests follow.
fn negotiate(disk: &Disk, stream: &mut UnixStream) -> io::Result<bool> {
    stream.write_all(b"NBDMAGICIHAVEOPT")?;
    stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    let _flags: [u8; 4] = bytes(stream)?;
    let mut export = disk.bytes().to_be_bytes().to_vec();
    export.extend(EXPORT_FLAGS.to_be_bytes());
    loop {
        expect(u64::from_be_bytes(bytes(stream)?) == OPTION_MAGIC, "no option")?;
        let option = u32::from_be_bytes(bytes(stream)?);
        let length = u32::from_be_bytes(bytes(stream)?);
        expect(length <= OPTION_BYTES_MAX, "a long option")?;
        take(stream, length)?;
        match option {
            OPTION_EXPORT_NAME => {
                stream.write_all(&export)?;
                return Ok(true);
            }
            OPTION_ABORT => {
                reply_option(stream, option, REPLY_ACK, &[])?;
                return Ok(false);
            }
            OPTION_INFO | OPTION_GO => {
                let information = [&0_u16.to_be_bytes()[..], &export].concat();
                reply_option(stream, option, REPLY_INFO, &information)?;
                reply_option(stream, option, REPLY_ACK, &[])?;
                if option == OPTION_GO {
                    return Ok(true);
                }
            }
            _ => reply_option(stream, option, REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn reply_option(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend(u32::try_from(data.len()).map_err(io::Error::other)?.to_be_bytes());
    reply.extend(data);
    stream.write_all(&reply)
}

/// Answers one request; false at the end. Without power there is no answer, not even a broken connection.
fn transmit(disk: &Disk, stream: &mut UnixStream) -> io::Result<bool> {
    expect(u32::from_be_bytes(bytes(stream)?) == REQUEST_MAGIC, "no request")?;
    let flags = u16::from_be_bytes(bytes(stream)?);
    let kind = u16::from_be_bytes(bytes(stream)?);
    let cookie: [u8; 8] = bytes(stream)?;
    let offset = u64::from_be_bytes(bytes(stream)?);
    let length = u32::from_be_bytes(bytes(stream)?);
    expect(length <= LENGTH_MAX, "a long request")?;
    let done = match kind {
        READ => disk.read(offset, length),
        WRITE => {
            let data = take(stream, length)?;
            disk.write(offset, data, flags & FLAG_DURABLE != 0).map(|alive| alive.then(Vec::new))
        }
        FLUSH => Ok(disk.flush().then(Vec::new)),
        DISCONNECT => return Ok(false),
        _ => Err(io::Error::other("an unknown request")),
    };
    let (error, data) = match done {
        Ok(Some(data)) => (0, data),
        Ok(None) => return Ok(true),
        Err(_) => (INVALID, Vec::new()),
    };
    let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(error.to_be_bytes());
    reply.extend(cookie);
    reply.extend(data);
    stream.write_all(&reply)?;
    Ok(true)
}
