//! What is asked: one kind of request, and the size of its answer.

/// The only chain there is.
pub const CHAIN_ID: u64 = 31337;

/// One kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    /// The first digits of the address it asks about; the fixture knows the case by them.
    mark: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// `eth_getBalance`: one number.
    Balance,
    /// `eth_getLogs`: an array of so many bytes.
    Logs(usize),
}

/// A wallet's favourite question.
const SMALL: Case = Case { name: "60 B", mark: "0xaaaa", kind: Kind::Balance };
/// The logs of a block.
const MEDIUM: Case = Case { name: "30 KB", mark: "0xbbbb", kind: Kind::Logs(30_000) };
/// The logs of a wide range.
pub const LARGE: Case = Case { name: "1 MB", mark: "0xcccc", kind: Kind::Logs(1_000_000) };
/// What is measured.
pub const CASES: [Case; 3] = [SMALL, MEDIUM, LARGE];

/// A request whose address can be changed in place: each asks about another one, so that neither a cache nor
/// an identical call in flight can answer it, and what is measured stays the whole way to the backend.
pub struct Request {
    bytes: Vec<u8>,
    digits_at: usize,
}

/// Hexadecimal digits that tell one request from another.
const DIGITS: usize = 16;

impl Case {
    /// The request as HTTP/1.1.
    pub fn request(&self, host: &str, path: &str) -> Request {
        let address = format!("{}{:036x}", self.mark, 0);
        let body = match self.kind {
            Kind::Balance => format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["{address}","latest"]}}"#
            ),
            Kind::Logs(_) => format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{{"address":"{address}","fromBlock":"0xfffff0","toBlock":"0xffffff"}}]}}"#
            ),
        };
        let text = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let digits_at = text.find(&address).expect("it was just written") + address.len() - DIGITS;
        Request { bytes: text.into_bytes(), digits_at }
    }

    /// Whether a request body is of this kind.
    pub fn is(&self, body: &[u8]) -> bool {
        memchr::memmem::find(body, self.mark.as_bytes()).is_some()
    }

    /// The `result` it is answered with, as JSON.
    pub fn result(&self) -> String {
        match self.kind {
            Kind::Balance => "\"0x1bc16d674ec80000\"".to_owned(),
            Kind::Logs(bytes) => logs(bytes),
        }
    }

    /// No whole answer is shorter.
    pub fn answer_bytes_min(&self) -> usize {
        match self.kind {
            Kind::Balance => 40,
            Kind::Logs(bytes) => bytes,
        }
    }
}

impl Request {
    /// The bytes to send, about another address than any before.
    pub fn next(&mut self, number: u64) -> &[u8] {
        let digits = format!("{number:0DIGITS$x}");
        self.bytes[self.digits_at..self.digits_at + DIGITS].copy_from_slice(digits.as_bytes());
        &self.bytes
    }
}

/// An array of transfers, just not shorter than asked.
fn logs(bytes: usize) -> String {
    let mut all = "[".to_owned();
    let mut index = 0;
    while all.len() < bytes {
        if index > 0 {
            all.push(',');
        }
        all += &format!(
            r#"{{"address":"0xdac17f958d2ee523a2206206994597c13d831ec7","topics":["0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef","0x{:064x}","0x{:064x}"],"data":"0x{index:064x}","blockNumber":"0xfffff7","transactionHash":"0x{:064x}","transactionIndex":"0x{:x}","blockHash":"0x{:064x}","logIndex":"{index:#x}","removed":false}}"#,
            index * 7,
            index * 11,
            index * 13,
            index / 3,
            17,
        );
        index += 1;
    }
    all.push(']');
    all
}
