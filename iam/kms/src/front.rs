//! KMS behind the gateway: a document in, a document out.

use async_trait::async_trait;
use karri_iam_wire::kms::{ErrorCode, Operation, TARGET_PREFIX};
use karri_iam_wire::{Document, WireError};
use karri_objstore_gateway::{FormResponse, JSON_MEDIA_TYPE, JsonBackend, JsonRequest};

use crate::{Answer, Asker, Kms};

fn operation(request: &JsonRequest) -> Answer<Operation> {
    let target = request.target.as_deref().unwrap_or_default();
    let name = target.strip_prefix(TARGET_PREFIX).and_then(|rest| rest.strip_prefix('.'));
    name.and_then(Operation::from_action).ok_or_else(|| ErrorCode::UnknownOperationException.into())
}

#[async_trait]
impl JsonBackend for Kms {
    async fn call(&self, request: JsonRequest) -> FormResponse {
        let operation = operation(&request);
        let name = operation.as_ref().ok().map(|operation| operation.as_str());
        let answer = match operation {
            Ok(operation) => self.answer(operation, &request).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(body) => {
                if let Some(key) = &request.access_key {
                    self.store.note_use(key, "kms", &self.region);
                }
                FormResponse {
                    status: 200,
                    content_type: JSON_MEDIA_TYPE,
                    body: body.into(),
                    operation: name,
                    error: None,
                }
            }
            Err(error) => {
                let error = of_this_service(error);
                let body = error.to_json();
                FormResponse {
                    status: error.status,
                    content_type: JSON_MEDIA_TYPE,
                    body: body.into(),
                    operation: name,
                    error: Some(error.code),
                }
            }
        }
    }
}

impl Kms {
    async fn answer(&self, operation: Operation, request: &JsonRequest) -> Answer<Vec<u8>> {
        let document = Document::parse(&request.body)?;
        let asker = Asker {
            principal: request.caller.identity.clone(),
            source_ip: request.remote,
            secure: request.secure,
            user_agent: request.user_agent.clone(),
            via_service: None,
        };
        self.handle(operation, &asker, &document).await
    }
}

/// Failures of the rows below are told by IAM's codes there.
fn of_this_service(error: WireError) -> WireError {
    match error.code {
        "ServiceUnavailable" => ErrorCode::ServiceUnavailableException.into(),
        "InternalFailure" => ErrorCode::KMSInternalException.into(),
        _ => error,
    }
}
