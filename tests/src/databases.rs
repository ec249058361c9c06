//! Real databases: PostgreSQL and MariaDB, each server with a folder of its own.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use crate::engines::free_port;
use crate::engines::shelter::{self, Shelter};
use crate::eventually;
use crate::tls::Issued;

/// A kind of database, with its programs.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The folder of the programs, which Debian keeps out of the path.
    PostgreSql(PathBuf),
    MariaDb,
    /// The program of the server.
    MySql(PathBuf),
}

/// Who runs the servers if the tests run as root, which both refuse.
const NOBODY: u32 = 65534;
/// The database and its user, whose password is the same.
const NAME: &str = "karuta";

/// MySQL's default, but for what forbids the times that are 0 in a Gazelle.
const SQL_MODE: &str = "--sql-mode=ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,\
                        ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

/// A server. Dropping it kills it and removes its folder.
pub struct Database {
    pub kind: Kind,
    folder: PathBuf,
    pub port: u16,
    /// Whether it accepts TLS over TCP, and nothing else.
    is_encrypted: bool,
    process: Option<Child>,
    _shelter: Shelter,
}

impl Kind {
    /// Returns those that are installed; with the program of a MySQL in `KARUTA_MYSQLD`, only that one.
    /// Without one, tests are skipped; in CI, they fail.
    pub fn all() -> Vec<Self> {
        if let Some(program) = std::env::var_os("KARUTA_MYSQLD") {
            return vec![Self::MySql(program.into())];
        }
        let mut all = Vec::new();
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
        versions.retain(|folder| folder.join("initdb").is_file());
        versions.sort();
        all.extend(versions.pop().map(Self::PostgreSql));
        if ["/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db"]
            .iter()
            .all(|it| Path::new(it).exists())
        {
            all.push(Self::MariaDb);
        }
        if all.len() < 2 {
            let why = "PostgreSQL or MariaDB is missing; `make test` installs them on Debian";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped: {why}");
        }
        all
    }

    pub fn is_mysql(&self) -> bool {
        matches!(self, Self::MariaDb | Self::MySql(_))
    }

    /// Returns SQL for how many transactions wait for a lock.
    pub fn lock_waits(&self) -> &'static str {
        match self {
            Self::PostgreSql(_) => {
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            }
            Self::MariaDb => {
                "SELECT variable_value FROM information_schema.global_status \
                 WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'"
            }
            Self::MySql(_) => {
                "SELECT variable_value FROM performance_schema.global_status \
                 WHERE variable_name = 'Innodb_row_lock_current_waits'"
            }
        }
    }
}

impl Database {
    /// Starts a server with an empty database.
    pub fn start(kind: &Kind) -> Self {
        Self::start_with(kind, None)
    }

    /// Starts a server that has a certificate, and that nobody can use over TCP without TLS.
    pub fn start_with_tls(kind: &Kind, certificate: &Issued) -> Self {
        Self::start_with(kind, Some(certificate))
    }

    fn start_with(kind: &Kind, certificate: Option<&Issued>) -> Self {
        let shelter = Shelter::new();
        // Servers may run as somebody else.
        open(shelter.path());
        let folder = shelter.path().join("server");
        fs::create_dir(&folder).expect("a folder");
        open(&folder);
        let mut database = Self {
            kind: kind.clone(),
            folder,
            port: free_port(),
            is_encrypted: certificate.is_some(),
            process: None,
            _shelter: shelter,
        };
        let data = database.data();
        let mut command = match kind {
            Kind::PostgreSql(programs) => {
                let mut command = Command::new(programs.join("initdb"));
                command.args(["-U", "root", "--auth=trust", "--no-sync", "-E", "UTF8", "-D"]);
                command.arg(&data);
                command
            }
            Kind::MariaDb => {
                let mut command = Command::new("mariadb-install-db");
                command.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
                command.arg("--skip-test-db").arg(format!("--datadir={}", data.display()));
                // There may be too little of what is locked in memory for several servers.
                command.arg("--innodb-use-native-aio=0");
                command
            }
            Kind::MySql(program) => {
                let mut command = Command::new(program);
                command.args(["--no-defaults", "--initialize-insecure"]);
                command.arg(format!("--datadir={}", data.display()));
                command.arg("--innodb-use-native-aio=0");
                command
            }
        };
        // MariaDB's sometimes fails where several run at a time, and where others need the disk.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock();
        let mut make = || {
            let _ = fs::remove_dir_all(&data);
            fs::create_dir(&data).expect("a folder");
            fs::set_permissions(&data, Permissions::from_mode(0o700)).expect("its mode");
            own(&data);
            as_nobody(&mut command).output().expect("the program runs")
        };
        let mut made = make();
        for _ in 0..2 {
            if !made.status.success() {
                made = make();
            }
        }
        drop(alone);
        assert!(made.status.success(), "{made:?}");
        if let Some(certificate) = certificate {
            database.show(certificate);
        }
        database.launch();
        let create = match kind {
            Kind::PostgreSql(_) => format!("CREATE ROLE {NAME} LOGIN PASSWORD '{NAME}'"),
            Kind::MariaDb | Kind::MySql(_) => {
                format!("CREATE USER {NAME}@localhost IDENTIFIED BY '{NAME}'")
            }
        };
        database.admin(&create);
        database.admin(&format!("CREATE DATABASE {NAME}"));
        database
    }

    /// Gives it a certificate, before it is launched.
    fn show(&self, certificate: &Issued) {
        certificate.write(&self.folder, "server");
        let key = self.folder.join("server.key");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("its mode");
        own(&key);
        if !self.kind.is_mysql() {
            let who = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
            fs::write(self.data().join("pg_hba.conf"), who).expect("who may log in");
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts it again, with what it had.
    pub fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.expect("a log");
        let (data, folder) = (self.data(), self.folder.display());
        let mut command = match &self.kind {
            Kind::PostgreSql(programs) => {
                let mut command = Command::new(programs.join("postgres"));
                command.arg("-D").arg(data).args(["-k", &folder.to_string()]);
                command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
                // The machine does not crash, only the server does.
                command.args(["-c", "fsync=off", "-c", "deadlock_timeout=50ms"]);
                if self.is_encrypted {
                    command.args(["-c", "ssl=on"]);
                    command.args(["-c", &format!("ssl_cert_file={folder}/server.pem")]);
                    command.args(["-c", &format!("ssl_key_file={folder}/server.key")]);
                }
                command
            }
            Kind::MariaDb | Kind::MySql(_) => {
                let (program, more) = match &self.kind {
                    Kind::MySql(program) => (program.as_path(), &["--mysqlx=OFF", SQL_MODE][..]),
                    _ => (Path::new("/usr/sbin/mariadbd"), &[][..]),
                };
                let mut command = Command::new(program);
                command
                    .arg("--no-defaults")
                    .args(more)
                    .arg(format!("--datadir={}", data.display()));
                command.arg(format!("--socket={folder}/my.sock"));
                command.arg(format!("--pid-file={folder}/my.pid"));
                command.args([format!("--port={}", self.port), "--bind-address=127.0.0.1".into()]);
                command
                    .args(["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M"]);
                command.args(["--innodb-lock-wait-timeout=2", "--innodb-use-native-aio=0"]);
                if self.is_encrypted {
                    command.arg("--require-secure-transport=ON");
                    command.arg(format!("--ssl-cert={folder}/server.pem"));
                    command.arg(format!("--ssl-key={folder}/server.key"));
                }
                command
            }
        };
        eventually("the database starts", || {
            let out = log.try_clone().expect("the log is shared");
            let mut process = as_nobody(&mut command)
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(out.try_clone().expect("the log is shared"))
                .stderr(out)
                .spawn()
                .expect("the server starts");
            shelter::note(&self.folder, process.id());
            loop {
                if self.try_admin("SELECT 1").is_some() {
                    self.process = Some(process);
                    return true;
                }
                // What a crash has left may be in its way for a moment.
                if process.try_wait().expect("its status").is_some() {
                    return false;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
    }

    /// Ends it at once, as a crash does.
    pub fn crash(&mut self) {
        // PostgreSQL's processes all end in this way; killed, some would live on for a while.
        let signal = if self.kind.is_mysql() { "KILL" } else { "QUIT" };
        self.end(signal);
    }

    /// Ends it in an orderly way.
    pub fn stop(&mut self) {
        let signal = if self.kind.is_mysql() { "TERM" } else { "INT" };
        self.end(signal);
    }

    fn end(&mut self, signal: &str) {
        let Some(mut process) = self.process.take() else { return };
        let pid = process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{signal} {pid}");
        process.wait().expect("it ends");
        shelter::forget(&self.folder);
    }

    /// Takes a copy of the data of a server that is stopped.
    pub fn back_up(&self) {
        copy(&self.data(), &self.folder.join("backup"));
    }

    /// Puts the copy in the place of the data of a server that is stopped.
    pub fn restore(&self) {
        fs::remove_dir_all(self.data()).expect("the data goes");
        copy(&self.folder.join("backup"), &self.data());
    }

    /// Returns the URL of the database for its user, at a port.
    pub fn url(&self, port: u16) -> String {
        let scheme = if self.kind.is_mysql() { "mysql" } else { "postgres" };
        format!("{scheme}://{NAME}:{NAME}@127.0.0.1:{port}/{NAME}")
    }

    /// Returns that URL with what a client needs to verify the server: the authority in a PEM file.
    pub fn verified_url(&self, authority: &Path) -> String {
        let (mode, file) = match self.kind.is_mysql() {
            true => ("ssl-mode=VERIFY_IDENTITY", "ssl-ca"),
            false => ("sslmode=verify-full", "sslrootcert"),
        };
        format!("{}?{mode}&{file}={}", self.url(self.port), authority.display())
    }

    /// Does SQL in the database as its administrator, and returns rows with tabs between columns.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.in_database(NAME, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Returns the number that SQL returns.
    #[track_caller]
    pub fn number(&self, sql: &str) -> u64 {
        let text = self.sql(sql);
        text.trim().parse().unwrap_or_else(|_| panic!("{sql}: {text:?}"))
    }

    #[track_caller]
    fn admin(&self, sql: &str) {
        let done = self.try_admin(sql);
        assert!(done.is_some(), "{sql}");
    }

    fn try_admin(&self, sql: &str) -> Option<String> {
        let name = if self.kind.is_mysql() { "mysql" } else { "postgres" };
        self.in_database(name, sql).ok()
    }

    /// Returns a client that reads SQL from its standard input, in one session.
    pub fn client(&self) -> Command {
        self.client_of(NAME)
    }

    fn client_of(&self, name: &str) -> Command {
        let folder = self.folder.display();
        match &self.kind {
            Kind::PostgreSql(_) => {
                let mut command = Command::new("psql");
                command.args([
                    "-X",
                    "-q",
                    "-At",
                    "-F",
                    "\t",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-U",
                    "root",
                ]);
                command.args(["-h", &folder.to_string(), "-p", &self.port.to_string(), "-d", name]);
                command
            }
            Kind::MariaDb | Kind::MySql(_) => {
                let mut command = Command::new("mariadb");
                command.args(["--no-defaults", "-u", "root", "-N", "-B", "-n"]);
                command.arg(format!("--socket={folder}/my.sock")).arg(name);
                command
            }
        }
    }

    fn in_database(&self, name: &str, sql: &str) -> Result<String, String> {
        let option = if self.kind.is_mysql() { "-e" } else { "-c" };
        let output = self.client_of(name).args([option, sql]).output();
        let output = output.expect("the client runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let signal = if self.kind.is_mysql() { "-KILL" } else { "-QUIT" };
            let _ = Command::new("kill").args([signal, &process.id().to_string()]).status();
            let _ = process.wait();
            shelter::forget(&self.folder);
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            eprintln!("--- the end of the log of the database\n{last}");
        }
    }
}

fn is_root() -> bool {
    // The owner of what we make is who we are.
    let file = tempfile::tempfile().expect("a file");
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|found| found.uid() == 0)
}

fn as_nobody(command: &mut Command) -> &mut Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Lets everybody into a folder.
fn open(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o777)).expect("its mode");
}

fn own(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("another owner");
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{}", from.display());
}
