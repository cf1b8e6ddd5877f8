//! Every operation of S3 x every kind of credential x everything that can be wrong with it.

use anyhow::{Result, ensure};
use karri_objstore_wire::{Operation, WireRequest, route};
use karri_tests_attack::{BUCKET, Keys, Kind, Request, Row, Sent, Signer, Stage, changes, rows, text};
use karri_tests_cluster::Answer;

/// What is wrong with a request, and what AWS answers: status and code.
struct Cell {
    fault: &'static str,
    kind: Option<Kind>,
    sent: Sent,
    status: u16,
    code: &'static str,
}

/// One digit or letter of a signature is another.
fn forged(signature: &str) -> String {
    let first = if signature.starts_with('a') { "b" } else { "a" };
    format!("{first}{}", &signature[1..])
}

/// The spoilt forms of one request.
struct Spoiler<'a> {
    stage: &'a Stage,
    row: &'a Row,
    cells: Vec<Cell>,
}

impl Spoiler<'_> {
    fn add(&mut self, fault: &'static str, kind: Kind, sent: Sent, status: u16, code: &'static str) {
        self.cells.push(Cell { fault, kind: Some(kind), sent, status, code });
    }

    fn signer(&self, keys: &Keys, kind: Kind) -> Signer {
        Signer::new(keys, kind)
    }

    fn sign(&self, signer: &Signer) -> Sent {
        signer.sign(&self.row.request, &self.stage.host)
    }

    /// Faults of the signature: nobody gets as far as permissions.
    fn signatures(&mut self, kind: Kind) {
        let stage = self.stage;
        let root = self.signer(&stage.root, kind);
        let good = self.sign(&root);
        self.add("forged signature", kind, good.clone().with_signature(forged), 403, "SignatureDoesNotMatch");
        let mut other = stage.root.clone();
        other.secret_key.push('x');
        let wrong_secret = self.sign(&self.signer(&other, kind));
        self.add("wrong secret", kind, wrong_secret, 403, "SignatureDoesNotMatch");
        "NOSUCHKEYATALL".clone_into(&mut other.access_key);
        self.add("unknown key", kind, self.sign(&self.signer(&other, kind)), 403, "InvalidAccessKeyId");
        let late = Signer { skew_seconds: -3600, ..root.clone() };
        let code = if kind.is_query() { "AccessDenied" } else { "RequestTimeTooSkewed" };
        self.add("expired", kind, self.sign(&late), 403, code);
        if kind != Kind::PresignedV2 {
            let early = Signer { skew_seconds: 3600, ..root.clone() };
            self.add("not yet valid", kind, self.sign(&early), 403, code);
        }
        let tampered = match kind {
            // The path is part of every signature, the query only of version 4's.
            Kind::HeaderV2 | Kind::PresignedV2 => Sent { method: "PATCH".to_owned(), ..good.clone() },
            _ => good.clone().parameter("x-more=1"),
        };
        self.add("tampered", kind, tampered, 403, "SignatureDoesNotMatch");
        if !kind.is_v2() {
            let code = match kind {
                Kind::Presigned => "AuthorizationQueryParametersError",
                _ => "AuthorizationHeaderMalformed",
            };
            self.add("wrong region", kind, self.sign(&Signer { region: "eu-west-9", ..root.clone() }), 400, code);
            self.add("wrong service", kind, self.sign(&Signer { service: "s4", ..root.clone() }), 400, code);
        }
        let header = good.clone().header("x-amz-unsigned", "x");
        let code = if kind.is_v2() { "SignatureDoesNotMatch" } else { "AccessDenied" };
        self.add("unsigned header", kind, header, 403, code);
        if kind == Kind::Presigned {
            for (fault, seconds) in [("expiry negative", -5), ("expiry zero", 0), ("expiry over a week", 604_801)] {
                let signer = Signer { expires_seconds: seconds, ..root.clone() };
                self.add(fault, kind, self.sign(&signer), 403, "AuthorizationQueryParametersError");
            }
        }
        if kind.is_v2() {
            self.add("header as parameter", kind, good.clone().parameter("x-amz-acl=public-read"), 403, "AccessDenied");
        }
        if kind == Kind::PresignedV2 {
            for (fault, more) in [("made into another request", "retention"), ("made into a hold", "legal-hold=")] {
                self.add(fault, kind, good.clone().parameter(more), 403, "AccessDenied");
            }
        }
    }

    /// Faults of session tokens.
    fn tokens(&mut self, kind: Kind) {
        let stage = self.stage;
        let session = &stage.session;
        let mut keys = session.clone();
        keys.token = None;
        self.add("token left out", kind, self.sign(&self.signer(&keys, kind)), 403, "InvalidAccessKeyId");
        keys.token = session.token.as_ref().map(|token| {
            let middle = token.len() / 2;
            let other = if token.as_bytes()[middle] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &token[..middle], &token[middle + 1..])
        });
        self.add("token forged", kind, self.sign(&self.signer(&keys, kind)), 400, "InvalidToken");
        keys.token = Some("x".repeat(300));
        self.add("token made up", kind, self.sign(&self.signer(&keys, kind)), 400, "InvalidToken");
        let mixed = Keys { token: session.token.clone(), ..stage.friend.clone() };
        self.add("another's token", kind, self.sign(&self.signer(&mixed, kind)), 400, "InvalidToken");
        let good = self.sign(&self.signer(session, kind));
        self.add("session forged", kind, good.with_signature(forged), 403, "SignatureDoesNotMatch");
    }

    /// Good signatures of those who may not.
    fn permissions(&mut self, kind: Kind) {
        let stage = self.stage;
        for (fault, keys) in [
            ("denied by policy", &stage.denied),
            ("allowed nothing", &stage.nobody),
            ("another account's", &stage.stranger),
        ] {
            let mut request = self.row.request.clone();
            let (mut status, mut code) = (403, "AccessDenied");
            let is_stranger = fault == "another account's";
            match self.row.operation {
                // Everybody may look at what is their own: here nothing.
                Operation::ListBuckets if is_stranger => (status, code) = (200, ""),
                Operation::CreateBucket if is_stranger => {
                    request.path = format!("/{BUCKET}");
                    (status, code) = (409, "BucketAlreadyExists");
                }
                // Each key is decided on by itself.
                Operation::DeleteObjects => status = 200,
                _ => {}
            }
            let sent = Signer::new(keys, kind).sign(&request, &stage.host);
            self.add(fault, kind, sent, status, code);
        }
    }
}

/// The kinds of signature that cover the row's request: a presigned one of version 2 leaves new sub-resources out.
fn kinds_of(row: &Row) -> impl Iterator<Item = Kind> {
    let left_out = ["abac", "attributes", "legal-hold", "ownershipControls", "renameObject", "retention"];
    let is_left_out = row.request.query.iter().any(|(name, _)| left_out.contains(&name.as_str()));
    Kind::ALL.into_iter().filter(move |kind| !(is_left_out && *kind == Kind::PresignedV2))
}

/// Everything that must be refused about one row.
fn cells(stage: &Stage, row: &Row) -> Vec<Cell> {
    let mut spoiler = Spoiler { stage, row, cells: Vec::new() };
    for kind in kinds_of(row) {
        spoiler.signatures(kind);
        spoiler.tokens(kind);
        spoiler.permissions(kind);
    }
    let missing = row.request.unsigned(&stage.host);
    let status = if row.operation == Operation::DeleteObjects { 200 } else { 403 };
    spoiler.cells.push(Cell { fault: "missing", kind: None, sent: missing, status, code: "AccessDenied" });
    spoiler.cells
}

fn verdict(row: &Row, cell: &Cell, answer: &Answer) -> Option<String> {
    let is_head = row.request.method == "HEAD" || cell.sent.method == "HEAD";
    let told = if is_head { cell.code.to_owned() } else { answer.tag("Code") };
    let leaks = cell.status == 200 && !is_head && text(answer).contains(BUCKET);
    let is_right = answer.status == cell.status && told == cell.code && !leaks;
    (!is_right).then(|| {
        format!(
            "{:?} {} {} / {:?} / {}: wanted {} {}, got {} {}",
            row.operation,
            cell.sent.method,
            row.request.path,
            cell.kind,
            cell.fault,
            cell.status,
            cell.code,
            answer.status,
            text(answer)
        )
    })
}

fn report(failures: &[String]) -> Result<()> {
    let shown = failures.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(failures.is_empty(), "{} cells are wrong:\n{shown}", failures.len());
    Ok(())
}

/// The rows ask for what they say they do.
fn check_routes(rows: &[Row]) -> Result<()> {
    for row in rows {
        let path = row.request.path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let some = |text: &'static str| (!text.is_empty()).then_some(text);
        let (bucket, key) = (bucket.to_owned().leak(), key.to_owned().leak());
        let pairs = row.request.headers.iter();
        let headers = pairs.map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value"))).collect();
        let method = row.request.method.parse()?;
        let request = WireRequest {
            method: &method,
            bucket: some(bucket),
            key: some(key),
            query: &row.request.query,
            headers: &headers,
        };
        ensure!(route(&request) == Ok(row.operation), "{row:?} is routed to {:?}", route(&request));
    }
    Ok(())
}

/// Codes by which a request is refused for what it may, or for who it is.
const REFUSALS: [&str; 10] = [
    "AccessDenied",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "InvalidToken",
    "ExpiredToken",
    "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "InvalidRequest",
    "NotImplemented",
];

/// The same requests with good credentials are not refused: otherwise the cells above prove nothing.
async fn controls(stage: &Stage, rows: &[Row]) -> Result<usize> {
    let mut failures = Vec::new();
    let (mut asked, mut done) = (0, 0);
    for (who, keys) in [("friend", &stage.friend), ("session", &stage.session)] {
        for kind in Kind::ALL {
            // One at a time, in their order: some take away what others need.
            for row in rows.iter().filter(|row| kinds_of(row).any(|known| known == kind)) {
                stage.restore().await?;
                let answer = stage.send(&Signer::new(keys, kind).sign(&row.request, &stage.host)).await?;
                asked += 1;
                done += usize::from(answer.status < 300);
                // Told to those alone who may: the bucket locks objects and keeps versions.
                let is_of_the_bucket = ["object protected by object lock", "in buckets that keep versions"]
                    .iter()
                    .any(|reason| text(&answer).contains(reason));
                let is_refused = match answer.tag("Code").as_str() {
                    "" => [401, 403, 501].contains(&answer.status) || (answer.status == 400 && answer.body.is_empty()),
                    code => REFUSALS.contains(&code) && !is_of_the_bucket,
                };
                if is_refused || (answer.status >= 500 && !is_of_the_bucket) {
                    let row = (row.operation, &row.request.path);
                    failures.push(format!("{row:?} / {kind:?} / {who}: {} {}", answer.status, text(&answer)));
                }
            }
        }
    }
    println!("controls: {asked} requests with good credentials, {done} of them carried out, none refused");
    report(&failures)?;
    Ok(asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_past_the_signature_or_the_permission() -> Result<()> {
    let stage = Stage::start().await?;
    let rows = rows(&stage.names);
    for operation in Operation::ALL {
        ensure!(rows.iter().any(|row| row.operation == *operation), "{operation:?} has no row");
    }
    check_routes(&rows)?;
    let before = stage.fingerprint().await?;
    let (mut failures, mut count) = (Vec::new(), 0);
    for row in &rows {
        let cells = cells(&stage, row);
        count += cells.len();
        let requests: Vec<Sent> = cells.iter().map(|cell| cell.sent.clone()).collect();
        let answers = stage.send_all(&requests).await?;
        failures.extend(cells.iter().zip(&answers).filter_map(|(cell, answer)| verdict(row, cell, answer)));
        let after = stage.fingerprint().await?;
        let changed = changes(&before, &after);
        failures.extend(changed.into_iter().map(|change| format!("{:?} changed {change}", row.operation)));
    }
    println!("matrix: {} rows of {} operations, {count} cells", rows.len(), Operation::ALL.len());
    report(&failures)?;
    controls(&stage, &rows).await?;
    Ok(())
}

/// Each operation needs the permissions that AWS documents for it, all of them and no other.
#[tokio::test(flavor = "multi_thread")]
async fn each_operation_needs_its_own_permissions() -> Result<()> {
    let stage = Stage::start().await?;
    let mut failures = Vec::new();
    let mut count = 0;
    for row in &rows(&stage.names) {
        stage.restore().await?;
        for missing in row.actions {
            let policy = format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","NotAction":"{missing}","Resource":"*"}}]}}"#
            );
            let keys = stage.assume(Some(&policy)).await?;
            let answer = stage.send(&Signer::new(&keys, Kind::Header).sign(&row.request, &stage.host)).await?;
            count += 1;
            let is_refused = answer.tag("Code") == "AccessDenied" || (answer.status == 403 && answer.body.is_empty());
            if !is_refused {
                failures.push(format!("{:?} without {missing}: {} {}", row.operation, answer.status, text(&answer)));
            }
        }
        let actions = row.actions.iter().map(|action| format!("\"{action}\"")).collect::<Vec<_>>().join(",");
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":[{actions}],"Resource":"*"}}]}}"#
        );
        let keys = stage.assume(Some(&policy)).await?;
        let answer = stage.send(&Signer::new(&keys, Kind::Header).sign(&row.request, &stage.host)).await?;
        count += 1;
        if answer.tag("Code") == "AccessDenied" || (answer.status == 403 && answer.body.is_empty()) {
            failures.push(format!("{:?} with {actions}: {} {}", row.operation, answer.status, text(&answer)));
        }
    }
    println!("permissions: {count} cells");
    report(&failures)
}

/// A request that is not of the matrix, so that its helpers are seen to find something.
#[tokio::test(flavor = "multi_thread")]
async fn the_fingerprint_sees_a_change() -> Result<()> {
    let stage = Stage::start().await?;
    let before = stage.fingerprint().await?;
    ensure!(changes(&before, &stage.fingerprint().await?).is_empty(), "the fingerprint changes by itself");
    for request in [
        Request::new("PUT", "/victim/key?tagging")
            .document("<Tagging><TagSet><Tag><Key>x</Key><Value>y</Value></Tag></TagSet></Tagging>"),
        Request::new("PUT", "/another-bucket"),
        Request::new("DELETE", "/victim/large"),
    ] {
        let before = stage.fingerprint().await?;
        stage.good(&request).await?;
        ensure!(!changes(&before, &stage.fingerprint().await?).is_empty(), "{request:?} was not seen");
    }
    Ok(())
}
