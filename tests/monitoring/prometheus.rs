//! A real Prometheus that scrapes a tracker twice a second.

use std::fs;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use karuta_tests::announce::escape;
use karuta_tests::{eventually, exchange};
use serde_json::Value;
use tempfile::TempDir;

/// Dropping it ends the process and removes its folder.
pub struct Prometheus {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    pub fn start(tracker: SocketAddr, rules: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        let config = serde_json::json!({
            "global": { "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms" },
            "rule_files": [rules],
            "scrape_configs": [{ "job_name": "karuta", "static_configs": [{ "targets": [tracker] }] }],
        });
        // JSON is YAML.
        fs::write(path.join("prometheus.yml"), config.to_string()).expect("it is written");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let log = File::create(path.join("log")).expect("a log");
        let process = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log is shared"))
            .stderr(log)
            .spawn()
            .expect("Prometheus starts");
        let prometheus = Self { process, address, folder };
        eventually("Prometheus listens", || std::net::TcpStream::connect(address).is_ok());
        eventually("Prometheus is ready", || prometheus.get("/-/ready").0 == 200);
        prometheus
    }

    /// Returns the samples of an instant query. The error says what is wrong with it.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let (_, body) = self.get(&format!("/api/v1/query?query={}", escape(expression.as_bytes())));
        let mut answer: Value = serde_json::from_slice(&body).expect("JSON");
        match answer["data"]["result"].take() {
            Value::Array(samples) => Ok(samples),
            _ => Err(answer["error"].to_string()),
        }
    }

    /// Returns all rules that it has loaded.
    pub fn rules(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_slice(&self.get("/api/v1/rules").1).expect("JSON");
        let groups = answer["data"]["groups"].as_array().expect("groups");
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        rules.flatten().cloned().collect()
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        // With a later version of HTTP, long answers come in chunks.
        let answer = exchange(self.address, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        (answer.status, answer.body)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- Prometheus' log\n{}", String::from_utf8_lossy(&log));
        }
    }
}
