//! How do bytes get into the socket of a server on this host? Mapped bytes are sent as a range of their file: the
//! kernel then takes the pages from the page cache, where a write would copy them (benches/README.md has the cost).
//! Everything else, and everything under TLS, is written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::sendfile;
use rustix::io::{Errno, write, writev};
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::input::origin;

/// Shorter bodies are copied faster than their pages are found.
const WORTHWHILE: usize = 4096;

/// A connection to a server on this host.
pub struct Socket(TcpStream);

impl Socket {
    /// Wraps an established connection.
    pub fn new(stream: TcpStream) -> Socket {
        Socket(stream)
    }

    /// Sends as much of the slices as the socket has room for.
    fn send(&self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        // A frame arrives as its head and its content, or as the rest of them.
        let (head, body) = match slices {
            [body, ..] if body.len() >= WORTHWHILE => (&[][..], body),
            [head, body, ..] if body.len() >= WORTHWHILE => (&head[..], body),
            _ => return writev(&self.0, slices),
        };
        let Some((file, mut offset)) = origin(body) else {
            return writev(&self.0, slices);
        };
        if !head.is_empty() {
            // More will follow: do not make a separate packet of a few bytes.
            let sent = send(&self.0, head, SendFlags::MORE)?;
            if sent < head.len() {
                return Ok(sent);
            }
        }
        let sent = match sendfile(&self.0, &*file, Some(&mut offset), body.len()) {
            // The file was truncated, or its file system cannot do this: send it like any other memory.
            Ok(0) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => write(&self.0, body),
            sent => sent,
        };
        match sent {
            // The body comes again in the next call.
            Err(_) if !head.is_empty() => Ok(head.len()),
            sent => sent.map(|sent| head.len() + sent),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            let send = || Ok(self.send(slices)?);
            match self.0.try_io(Interest::WRITABLE, send) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, room)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::runtime::Builder;

    use super::*;
    use crate::input::{Access, View};

    /// A connection with little room, and its other end.
    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(16 << 10).unwrap();
        let (stream, other) = tokio::join!(
            socket.connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        (Socket::new(stream.unwrap()), other.unwrap().0)
    }

    /// Sends as h2 does: what was not taken comes again.
    async fn send_all(socket: &mut Socket, mut head: &[u8], mut body: &[u8]) -> io::Result<()> {
        while !head.is_empty() || !body.is_empty() {
            let both = [IoSlice::new(head), IoSlice::new(body)];
            let slices = &both[usize::from(head.is_empty())..];
            let sent = poll_fn(|cx| Pin::new(&mut *socket).poll_write_vectored(cx, slices)).await?;
            assert!(sent > 0);
            let of_head = sent.min(head.len());
            (head, body) = (&head[of_head..], &body[sent - of_head..]);
        }
        Ok(())
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test);
    }

    fn file(bytes: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..bytes)
            .map(|i| ((i * 2_654_435_761) >> 9) as u8)
            .collect();
        file.write_all(&content).unwrap();
        (file, content)
    }

    #[test]
    fn frames_of_mapped_bytes_arrive_whole_and_in_order() {
        let (file, content) = file(3_000_000);
        let view = View::open(file.path(), Access::Map).unwrap();
        let mapped = view.cut(45, 2_999_000).unwrap().bytes().unwrap();
        run(async {
            let (mut socket, mut other) = pair().await;
            let mut expected = Vec::new();
            let mut frames = Vec::new();
            let (mut at, mut len) = (0, 1);
            while at + len <= mapped.len() {
                // Mapped and copied ones of every size, by turns.
                let head = vec![len as u8; frames.len() % 3 * 9];
                let body = mapped.slice(at..at + len);
                let is_copied = frames.len() % 4 == 3;
                let body = if is_copied {
                    body.to_vec().into()
                } else {
                    body
                };
                expected.extend_from_slice(&head);
                expected.extend_from_slice(&content[45 + at..][..len]);
                frames.push((head, body));
                at += len;
                len = (len * 7 + 5) % 40_000;
            }
            assert!(frames.len() > 100);
            let sender = async {
                for (head, body) in &frames {
                    send_all(&mut socket, head, body).await.unwrap();
                }
                drop(socket);
            };
            let reader = async {
                let mut arrived = Vec::new();
                let mut room = vec![0; 5000];
                loop {
                    match other.read(&mut room).await.unwrap() {
                        0 => break arrived,
                        count => arrived.extend_from_slice(&room[..count]),
                    }
                }
            };
            let ((), arrived) = tokio::join!(sender, reader);
            assert!(arrived == expected);
        });
    }

    #[test]
    fn mapped_bytes_are_not_copied() {
        let (file, content) = file(8192);
        let view = View::open(file.path(), Access::Map).unwrap();
        let mapped = view.bytes().unwrap();
        run(async {
            let (mut socket, mut other) = pair().await;
            send_all(&mut socket, b"head", &mapped).await.unwrap();
            // What waits in the socket is the file's own page: a write to one is a write to both.
            file.as_file().write_all_at(b"later", 5000).unwrap();
            let mut arrived = vec![0; 4 + 8192];
            other.read_exact(&mut arrived).await.unwrap();
            let body = &arrived[4..];
            assert!(body[..5000] == content[..5000] && body[5005..] == content[5005..]);
            assert_eq!(&body[5000..5005], b"later");
        });
    }

    #[test]
    fn bytes_that_the_file_no_longer_has_are_an_error() {
        let (file, _) = file(1 << 20);
        let view = View::open(file.path(), Access::Map).unwrap();
        let mapped = view.bytes().unwrap();
        file.as_file().set_len(5000).unwrap();
        run(async {
            let (mut socket, _other) = pair().await;
            send_all(&mut socket, b"head", &mapped[8192..8192 + 4096])
                .await
                .unwrap_err();
        });
    }
}
