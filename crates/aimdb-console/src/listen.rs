//! Where the console listens: the path of the Unix socket, and the addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aimdb_core::BoxError;
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// The longest path of a Unix socket on Linux, without its final NUL; macOS has four bytes less.
const LONGEST_PATH: usize = 103;

/// The pause between two attempts to lock the directory.
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Where a console listens.
///
/// [`Console::on_listening`](crate::Console::on_listening) receives it.
///
/// ```
/// use aimdb_console::Console;
///
/// let console = Console::new().http("127.0.0.1:0").on_listening(|at| {
///     if let Some(address) = at.http {
///         println!("look at http://{address}/, or run `aimdb top --db {}`", at.name);
///     }
/// });
/// # let _ = console;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// The name of the database, as command lines show it.
    pub name: String,
    /// The path of the Unix socket.
    pub socket: Option<PathBuf>,
    /// The address of the HTTP server.
    pub http: Option<SocketAddr>,
    /// Whether that speaks HTTPS.
    pub https: bool,
}

/// The scheme of the addresses of a server.
pub(crate) fn scheme(https: bool) -> &'static str {
    if https { "https" } else { "http" }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.socket.as_ref().map(|path| path.display().to_string());
        let scheme = scheme(self.https);
        let http = self.http.map(|address| format!("{scheme}://{address}/"));
        let all: Vec<String> = socket.into_iter().chain(http).collect();
        f.write_str(&all.join(" and "))
    }
}

/// The directory in which command lines look for the sockets of this user: `$XDG_RUNTIME_DIR/aimdb`, or `aimdb-UID` in the
/// directory for temporary files where that variable is not set.
///
/// ```
/// println!("databases: {}", aimdb_console::socket_directory().display());
/// ```
#[must_use]
pub fn socket_directory() -> PathBuf {
    directory_of(None)
}

/// The name of the program's file.
pub(crate) fn program_name() -> String {
    let program = std::env::current_exe().ok();
    let stem = program.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy());
    let stem = stem.as_deref().unwrap_or("aimdb").trim_start_matches('.');
    stem.chars().take(60).map(|c| if is_in_names(c) { c } else { '_' }).collect()
}

/// Whether a socket's name may have the character.
fn is_in_names(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_')
}

/// Why a name cannot be a file's.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_in_names) {
        return Err(format!("`{name}` cannot be the name of a socket"));
    }
    Ok(())
}

/// Why the socket's path cannot be used: it is longer than the system allows.
pub(crate) fn check_path(directory: Option<&Path>, name: &str) -> Result<(), String> {
    // The name of a second process has its number in it.
    let path = directory_of(directory).join(format!("{name}-{}.sock", std::process::id()));
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        let path = path.display();
        return Err(format!(
            "the socket's path has {length} bytes, and {LONGEST_PATH} are possible: {path}"
        ));
    }
    Ok(())
}

/// The directory of the sockets of this user.
pub(crate) fn directory_of(chosen: Option<&Path>) -> PathBuf {
    match (chosen, std::env::var_os("XDG_RUNTIME_DIR")) {
        (Some(chosen), _) => chosen.into(),
        (None, Some(runtime)) if !runtime.is_empty() => Path::new(&runtime).join("aimdb"),
        // The user's id keeps the directories of two users apart.
        (None, _) => std::env::temp_dir().join(format!("aimdb-{}", own_user())),
    }
}

/// The user of this process. Everything in `/proc/self` is theirs; without it, the owner of the home directory.
fn own_user() -> u32 {
    let home = || std::fs::metadata(std::env::var_os("HOME")?).ok();
    std::fs::metadata("/proc/self").ok().or_else(home).map_or(0, |data| data.uid())
}

/// The open listeners. Their drop removes the socket's file.
pub(crate) struct Listeners {
    pub(crate) socket: Option<Socket>,
    pub(crate) http: Option<TcpListener>,
    addresses: Addresses,
}

/// A Unix socket with its file.
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    /// The user that owns the socket: the one of this process.
    pub(crate) owner: u32,
    path: PathBuf,
    /// Identifies the file, so that the drop removes no other one.
    inode: u64,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|data| data.ino() == self.inode) {
            _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listeners {
    pub(crate) async fn open(
        socket: Option<Option<&Path>>,
        http: Option<SocketAddr>,
        name: &str,
        https: bool,
    ) -> Result<Self, BoxError> {
        let mut addresses = Addresses { name: name.to_owned(), socket: None, http: None, https };
        let http = match http {
            Some(address) => {
                let listener = TcpListener::bind(address).await.map_err(|error| {
                    format!(
                        "cannot listen on {address}: {error}; `127.0.0.1:0` takes any free port"
                    )
                })?;
                addresses.http = Some(listener.local_addr()?);
                Some(listener)
            }
            None => None,
        };
        let socket = match socket {
            Some(directory) => {
                let (socket, name) = open_socket(&directory_of(directory), name).await?;
                addresses.name = name;
                addresses.socket = Some(socket.path.clone());
                Some(socket)
            }
            None => None,
        };
        Ok(Self { socket, http, addresses })
    }

    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }
}

/// Opens `NAME.sock`, or `NAME-PID.sock` if another process listens there.
async fn open_socket(directory: &Path, name: &str) -> Result<(Socket, String), BoxError> {
    make_directory(directory)?;
    let _lock = lock(directory).await?;
    let with_id = format!("{name}-{}", std::process::id());
    for name in [name, &with_id] {
        let path = directory.join(format!("{name}.sock"));
        if is_in_use(&path).await? {
            continue;
        }
        let shown = path.display().to_string();
        let listener = UnixListener::bind(&path)
            .map_err(|error| format!("cannot listen on {shown}: {error}"))?;
        // Other users cannot enter the directory meanwhile.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        let data = std::fs::symlink_metadata(&path)?;
        let (owner, inode) = (data.uid(), data.ino());
        return Ok((Socket { listener, owner, path, inode }, name.to_owned()));
    }
    Err(format!(
        "`{name}` and `{with_id}` are in use in {}: set another `.name(…)`",
        directory.display()
    )
    .into())
}

/// Locks the directory while a socket is looked for and made: two programs that start together would each remove what the
/// other has just made. The lock ends with the file's handle.
async fn lock(directory: &Path) -> Result<std::fs::File, BoxError> {
    let path = directory.join(".lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    for _ in 0..200 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(format!("{}: {error}", path.display()).into());
            }
        }
    }
    Err(format!("another program holds {} locked: end it, or remove the file", path.display())
        .into())
}

/// Makes the directory, and refuses one that other users can enter or own.
fn make_directory(directory: &Path) -> Result<(), BoxError> {
    let shown = directory.display();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| format!("cannot make the directory of the socket, {shown}: {error}; set XDG_RUNTIME_DIR or `.directory(…)`"))?;
    let data = std::fs::symlink_metadata(directory)?;
    if !data.is_dir() {
        return Err(format!("{shown} is no directory: remove it, or set XDG_RUNTIME_DIR").into());
    }
    if data.uid() != own_user() {
        return Err(format!("{shown} belongs to another user: remove it, or set XDG_RUNTIME_DIR to a directory of this one").into());
    }
    if data.mode() & 0o077 != 0 {
        let help = format!("`chmod 700 {shown}`");
        return Err(format!("other users can enter {shown}: {help}").into());
    }
    Ok(())
}

/// Whether a process listens on this path. A file that a process has left behind is removed.
async fn is_in_use(path: &Path) -> Result<bool, BoxError> {
    let data = match std::fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    if !data.file_type().is_socket() {
        return Err(format!(
            "{} is there, and is no socket: remove it, or set another `.name(…)`",
            path.display()
        )
        .into());
    }
    match UnixStream::connect(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
            Ok(false)
        }
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}
