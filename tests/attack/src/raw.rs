//! Bytes that no HTTP client would send, from a seed.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Makes requests that are wrong in some way.
#[derive(Debug)]
pub struct Malformed {
    rng: StdRng,
    host: String,
}

impl Malformed {
    /// Requests to `host`.
    pub fn new(seed: u64, host: &str) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), host: host.to_owned() }
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.rng.random_range(0..of.len())]
    }

    fn target(&mut self) -> &'static str {
        self.one(&[
            "/",
            "/victim",
            "/victim/key",
            "/victim/%00",
            "/victim/%zz",
            "/victim//a/../b",
            "/%2e%2e/%2f",
            "/victim/%ff",
            "/victim?delete",
            "/victim?policy",
            "/victim?lifecycle",
            "/victim/key?versionId=%00",
            "*",
            "victim",
            "/-/x",
            "/?Action=GetUser&Version=2010-05-08",
            "/victim?max-keys=99999999999999999999",
            "http://[::1/victim",
            "/victim/key?partNumber=-1&uploadId=x",
            "/victim?list-type=2&continuation-token=%F0%28%8C%28",
        ])
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let length = self.rng.random_range(0..=most);
        (0..length).map(|_| self.rng.random()).collect()
    }

    /// The next one, with the name of what is wrong with it.
    pub fn next_request(&mut self) -> (&'static str, Vec<u8>) {
        match self.rng.random_range(0..10_u32) {
            0 => ("noise", self.noise(600)),
            1 => ("framing", self.framing()),
            2 => ("headers", self.headers()),
            3 => ("lengths", self.lengths()),
            4 => ("chunks", self.chunks()),
            5 => ("documents", self.document()),
            6 => ("ranges", self.ranges()),
            7 => ("forms", self.form()),
            8 => ("queries", self.query()),
            _ => ("spoilt", self.spoilt()),
        }
    }

    fn head(&mut self, method: &str, target: &str, headers: &str) -> Vec<u8> {
        format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host).into_bytes()
    }

    fn framing(&mut self) -> Vec<u8> {
        let line = self.one(&[
            "GET  /victim HTTP/1.1",
            "GET /victim HTTP/9.9",
            "GET /victim",
            "\0GET / HTTP/1.1",
            "GET /a b HTTP/1.1",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "CONNECT a:1 HTTP/1.1",
            "GET / HTTP/1.1\r\n Host: folded",
            "OPTIONS * HTTP/1.1",
        ]);
        let end = self.one(&[
            "\r\n\r\n",
            "\n\n",
            "\r\r",
            "\r\nHost: a\r\nHost: b\r\n\r\n",
            "\r\nHost\r\n\r\n",
            "\r\n: x\r\n\r\n",
        ]);
        format!("{line}{end}").into_bytes()
    }

    fn headers(&mut self) -> Vec<u8> {
        let (count, length) = match self.rng.random_range(0..4_u32) {
            0 => (self.rng.random_range(100..900), 4),
            1 => (1, self.rng.random_range(8_000..600_000)),
            2 => (40, 2_000),
            _ => (1, 3),
        };
        let value = "v".repeat(length);
        let mut headers: String = (0..count).map(|n| format!("x-amz-meta-{n}: {value}\r\n")).collect();
        headers.push_str(self.one(&[
            "authorization: AWS4-HMAC-SHA256 \r\n",
            "authorization: AWS4-HMAC-SHA256 Credential=a/b/c/d/e,Signature=,SignedHeaders=\r\n",
            "authorization: AWS :\r\n",
            "authorization: \u{fffd}\r\n",
            "x-amz-date: 99999999T999999Z\r\n",
            "expect: 200-ok\r\n",
            "x-amz-security-token: \t\r\n",
            "connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n",
        ]));
        let target = self.target();
        self.head("GET", target, &headers)
    }

    fn lengths(&mut self) -> Vec<u8> {
        let headers = self.one(&[
            "content-length: -1\r\n",
            "content-length: 18446744073709551616\r\n",
            "content-length: 9223372036854775807\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding: xchunked\r\n",
            "content-length: 0x10\r\n",
            "content-length: 5, 5\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "content-length: +5\r\n",
        ]);
        let target = self.target();
        let mut bytes = self.head("PUT", target, headers);
        bytes.extend_from_slice(
            self.one(&[
                "",
                "hello",
                "5\r\nhello\r\n0\r\n\r\n",
                "ffffffffffffffff\r\n",
                "0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            ])
            .as_bytes(),
        );
        bytes
    }

    fn chunks(&mut self) -> Vec<u8> {
        let payload =
            self.one(&["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-X", "x"]);
        let length = self.one(&["5", "-5", "99999999999999999999", "", "0"]);
        let body = self.one(&[
            "5;chunk-signature=00\r\nhello\r\n0\r\n\r\n",
            "zz\r\n",
            "5\r\nhel",
            ";;;;\r\n",
            "0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",
            "fffffffffffffffff\r\n",
            "5\nhello\n0\n\n",
            "5\r\nhello0\r\n\r\n",
        ]);
        let headers = format!(
            "x-amz-content-sha256: {payload}\r\nx-amz-decoded-content-length: {length}\r\ncontent-encoding: aws-chunked\r\n\
             x-amz-trailer: x-amz-checksum-crc32\r\ncontent-length: {}\r\n",
            body.len()
        );
        let mut bytes = self.head("PUT", "/open/key", &headers);
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }

    fn document(&mut self) -> Vec<u8> {
        let deep = "<a>".repeat(self.rng.random_range(1..20_000));
        let body = match self.rng.random_range(0..6_u32) {
            0 => deep,
            1 => "<!DOCTYPE d [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><Delete><Object><Key>&b;</Key></Object></Delete>".to_owned(),
            2 => format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(self.rng.random_range(900..3_000))),
            3 => format!("<Delete><Object><Key>{}</Key></Object></Delete>", "k".repeat(70_000)),
            4 => "<Delete><Object><Key>&#xD800;&#0;&#99999999;</Key></Object></Delete>".to_owned(),
            _ => String::from_utf8_lossy(&self.noise(500)).into_owned(),
        };
        let target = self.one(&["/open?delete", "/open/key?uploadId=x", "/open?policy", "/open?acl", "/open?tagging"]);
        let method = self.one(&["PUT", "POST"]);
        let mut bytes = self.head(method, target, &format!("content-length: {}\r\n", body.len()));
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }

    fn ranges(&mut self) -> Vec<u8> {
        let value = self.one(&[
            "bytes=-",
            "bytes=5-1",
            "bytes=-0",
            "bytes=18446744073709551615-18446744073709551616",
            "bytes=0-0,2-3,4-5",
            "lines=1-2",
            "bytes=a-b",
            "bytes=-18446744073709551616",
            "bytes=99999999999999999999-",
        ]);
        self.head(
            "GET",
            "/open/readable",
            &format!("range: {value}\r\nif-modified-since: never\r\nif-none-match: \"\r\n"),
        )
    }

    fn form(&mut self) -> Vec<u8> {
        let body = match self.rng.random_range(0..5_u32) {
            0 => "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx".to_owned(),
            1 => format!("--b\r\n{}", "X: y\r\n".repeat(2_000)),
            2 => "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n\0\r\n--b--\r\n".to_owned(),
            3 => "--b\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\n!!!\r\n--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--".to_owned(),
            _ => format!("--b{}", "\r\n--b".repeat(500)),
        };
        let boundary = self.one(&["b", "", "\"b", "b\u{7f}"]);
        let headers =
            format!("content-type: multipart/form-data; boundary={boundary}\r\ncontent-length: {}\r\n", body.len());
        let mut bytes = self.head("POST", "/open", &headers);
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }

    fn query(&mut self) -> Vec<u8> {
        let pair = self.one(&[
            "a=b",
            "X-Amz-Signature=x",
            "prefix=%00",
            "Tags.member.1.Key=k",
            "a.b.c.d.e.f.g.h.i.j.k.l.m=1",
            "%",
            "=&",
        ]);
        let count = self.rng.random_range(1..3_000);
        let pairs = vec![pair; count].join("&");
        match self.rng.random_range(0..2_u32) {
            0 => self.head("GET", &format!("/open?{pairs}"), ""),
            _ => {
                let headers =
                    format!("content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n", pairs.len());
                let mut bytes = self.head("POST", "/", &headers);
                bytes.extend_from_slice(pairs.as_bytes());
                bytes
            }
        }
    }

    /// One of the others with bytes changed, cut or doubled.
    fn spoilt(&mut self) -> Vec<u8> {
        let mut bytes = match self.rng.random_range(0..3_u32) {
            0 => self.ranges(),
            1 => self.chunks(),
            _ => self.form(),
        };
        for _ in 0..self.rng.random_range(1..8) {
            let at = self.rng.random_range(0..bytes.len());
            bytes[at] = self.rng.random();
        }
        bytes.truncate(self.rng.random_range(1..=bytes.len()));
        bytes
    }
}
