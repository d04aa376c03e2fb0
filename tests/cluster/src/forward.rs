//! Ports from outside the namespace to inside it. The two sides share no network, only files: a Unix socket in the
//! cluster's folder joins them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::error::{Error, Result};

/// Path of the socket that carries the port `name`.
pub(crate) fn socket(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.sock"))
}

/// Outside: every connection to `listener` goes to the socket. As long as nobody listens there, it is closed.
pub(crate) fn from_outside(listener: TcpListener, socket: PathBuf) {
    tokio::spawn(async move {
        while let Ok((mut outer, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                if let Ok(mut inner) = UnixStream::connect(socket).await {
                    // An error is a connection that ended, as connections do.
                    let _ = copy_bidirectional(&mut outer, &mut inner).await;
                }
            });
        }
    });
}

/// Inside: every connection to the socket goes to `target`.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn to_inside(socket: &Path, target: SocketAddr) -> Result<tokio::task::JoinHandle<()>> {
    if socket.exists() {
        std::fs::remove_file(socket).map_err(Error::io("remove", socket))?;
    }
    let listener = UnixListener::bind(socket).map_err(Error::io("listen on", socket))?;
    Ok(tokio::spawn(async move {
        while let Ok((mut outer, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut inner) = TcpStream::connect(target).await {
                    let _ = copy_bidirectional(&mut outer, &mut inner).await;
                }
            });
        }
    }))
}
