//! IAM behind the gateway: a form in, a document out.

use std::sync::Arc;

use async_trait::async_trait;
use karri_iam_wire::iam::{ErrorCode, XMLNS};
use karri_iam_wire::{Form, WireError};
use karri_objstore_gateway::{FormBackend, FormRequest, FormResponse};

use crate::api::{Answered, Api, CallInfo};

#[async_trait]
impl FormBackend for Api {
    async fn call(&self, request: FormRequest) -> FormResponse {
        let request_id = request.request_id.to_string();
        let Answered { operation, result } = match info(&request) {
            Ok(info) => match Form::parse(&request.parameters) {
                Ok(form) => self.answer(&form, &info, &request_id).await,
                Err(error) => Answered { operation: None, result: Err(error) },
            },
            Err(error) => Answered { operation: None, result: Err(error) },
        };
        match (operation, result) {
            (Some(operation), Ok(document)) => {
                if let Some(key) = &request.access_key {
                    self.note_use(key);
                }
                FormResponse::xml(operation, document)
            }
            (operation, Err(error)) => {
                FormResponse::error(operation, error.status, error.code, error.to_xml(XMLNS, &request_id))
            }
            (None, Ok(_)) => {
                let error = WireError::from(ErrorCode::InternalFailure);
                FormResponse::error(None, error.status, error.code, error.to_xml(XMLNS, &request_id))
            }
        }
    }
}

fn info(request: &FormRequest) -> Result<CallInfo, WireError> {
    let principal = request
        .caller
        .principal()
        .ok_or_else(|| WireError::new("MissingAuthenticationToken", 403, "Request is missing Authentication Token"))?;
    Ok(CallInfo {
        caller: Arc::clone(&principal.identity),
        source_ip: request.remote,
        secure: request.secure,
        user_agent: request.user_agent.clone(),
        referer: request.referer.clone(),
    })
}
