//! A web server for the daemon to fetch from, which behaves as badly as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Behaviour = Arc<dyn Fn(&str, &mut TcpStream) + Send + Sync>;

/// Answers one request per connection, each on its own thread, until the test ends.
pub struct Server {
    pub address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<Mutex<Vec<String>>>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    /// Starts a server that answers every request with this text.
    pub fn with(text: &str) -> Self {
        let server = Self::at(([127, 0, 0, 1], 0).into());
        server.answer(text);
        server
    }

    /// Listens on an address, and answers 404.
    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let nothing: Behaviour = Arc::new(|_, stream| reply(stream, "404 Not Found", &[], b""));
        let behaviour = Arc::new(Mutex::new(nothing));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            address,
            behaviour: behaviour.clone(),
            requests: requests.clone(),
            bodies: bodies.clone(),
        };
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (behaviour, requests) = (behaviour.clone(), requests.clone());
                let bodies = bodies.clone();
                std::thread::spawn(move || {
                    let (head, body) = request(&stream);
                    requests.lock().unwrap().push(head.clone());
                    bodies.lock().unwrap().push(body);
                    let behaviour = behaviour.lock().unwrap().clone();
                    behaviour(&head, &mut stream);
                });
            }
        });
        server
    }

    /// Sets the behaviour for later requests. It gets the head of the request in lower case.
    pub fn behave(&self, behaviour: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Arc::new(behaviour);
    }

    /// Answers later requests with this text.
    pub fn answer(&self, text: &str) {
        let text = text.to_owned();
        self.behave(move |_, stream| reply(stream, "200 OK", &[], text.as_bytes()));
    }

    /// Returns the heads of the requests so far, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns the bodies of the requests so far.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Writes an answer and closes the connection.
pub fn reply(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        head += &format!("{header}\r\n");
    }
    // The client may have gone.
    let _ = stream.write_all(&[head.as_bytes(), b"connection: close\r\n\r\n", body].concat());
}

/// Reads a request's head, in lower case, and its body.
fn request(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let lines = reader.by_ref().lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let head = lines.join("\n").to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = Vec::new();
    let _ = reader.take(length.unwrap_or(0)).read_to_end(&mut body);
    (head, body)
}
