//! A client for the protocol of Redis and Valkey (RESP2): one command at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::{SOON, tls};

/// A connection to a server.
pub struct Client {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// What a server answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Nil,
    Integer(i64),
    Text(Vec<u8>),
    List(Vec<Value>),
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    /// Connects over TLS, and verifies that the certificate is for the address.
    pub fn connect_secured(address: SocketAddr, tls: &tls::Client) -> io::Result<Self> {
        let stream = tls.connect(address, &address.ip().to_string())?;
        Ok(Self { stream: BufReader::new(Box::new(stream)) })
    }

    /// Sends a command, and returns the answer. An error is the server's own, or says that it is gone.
    pub fn ask<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Value, String> {
        self.exchange(command).unwrap_or_else(|error| Err(format!("gone: {error}")))
    }

    /// Sends a command that must succeed, with its words in one text.
    #[track_caller]
    pub fn does(&mut self, command: &str) -> Value {
        let words: Vec<&str> = command.split(' ').collect();
        self.ask(&words).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Sends a command. The outer error is that of the connection.
    pub fn exchange<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<Result<Value, String>> {
        let mut bytes = Vec::new();
        write(&mut bytes, command);
        self.send(&bytes)?;
        self.answer()
    }

    /// Sends commands that [`write`] has written.
    pub fn send(&mut self, commands: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(commands)
    }

    /// Reads the answer to the next command.
    pub fn answer(&mut self) -> io::Result<Result<Value, String>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(Ok(match kind {
            "+" => Value::Text(rest.into()),
            "-" => return Ok(Err(rest.to_owned())),
            ":" => Value::Integer(number()?),
            "$" => match usize::try_from(number()?) {
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Value::Text(bytes)
                }
                Err(_) => Value::Nil,
            },
            "*" => match usize::try_from(number()?) {
                Ok(length) => {
                    let mut list = Vec::new();
                    for _ in 0..length {
                        list.push(self.answer()?.map_err(io::Error::other)?);
                    }
                    Value::List(list)
                }
                Err(_) => Value::Nil,
            },
            _ => return Err(io::Error::other(format!("not an answer: {line:?}"))),
        }))
    }
}

/// Writes a command behind others.
pub fn write<A: AsRef<[u8]>>(bytes: &mut Vec<u8>, command: &[A]) {
    bytes.extend(format!("*{}\r\n", command.len()).bytes());
    for word in command {
        let word = word.as_ref();
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
}

impl Value {
    /// Returns the text of an answer; that of anything else is empty.
    pub fn text(&self) -> String {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }
}
