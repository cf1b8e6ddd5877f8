//! The credential report: who has which secrets, and how old they are.

use std::fmt::Write as _;
use std::time::Duration;

use karri_iam_wire::iam::{ErrorCode, types as t};
use karri_ring_types::Timestamp;

use super::{Answer, Call, answers, record};
use crate::model::{LastUsed, SecretsOfUser, Status};
use crate::state::Account;

/// A report that is younger is handed out again.
const FRESH: Duration = Duration::from_secs(4 * 3600);
/// A report that is older is made anew first.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most bytes of a report: it is kept in the account's row.
const BYTES_MAX: usize = 768 << 10;
const NOT_AVAILABLE: &str = "N/A";
const HEADER: &str = "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
    password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,\
    access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,\
    access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,\
    cert_1_last_rotated,cert_2_active,cert_2_last_rotated";

fn when(at: Timestamp) -> String {
    answers::time(at).iso8601()
}

/// One line; `used` are the last uses of its keys in their order.
fn line(
    report: &mut String,
    (name, arn, created): (&str, &str, Timestamp),
    secrets: &SecretsOfUser,
    age_days_max: Option<u32>,
    used: &[Option<LastUsed>],
) {
    let _ = write!(report, "\n{name},{arn},{}", when(created));
    match &secrets.login {
        Some(login) => {
            let next = age_days_max.map(|days| Timestamp(login.changed.as_millis() + u64::from(days) * 86_400_000));
            let next = next.map_or_else(|| NOT_AVAILABLE.to_owned(), when);
            let _ = write!(report, ",true,no_information,{},{next}", when(login.changed));
        }
        None => report.push_str(",false,N/A,N/A,N/A"),
    }
    let _ = write!(report, ",{}", !secrets.mfa.is_empty());
    for index in 0..2 {
        let Some(key) = secrets.access_keys.get(index) else {
            report.push_str(",false,N/A,N/A,N/A,N/A");
            continue;
        };
        let _ = write!(report, ",{},{}", key.status == Status::Active, when(key.created));
        match used.get(index).and_then(Option::as_ref) {
            Some(used) => {
                let _ = write!(report, ",{},{},{}", when(used.at), used.region, used.service);
            }
            None => report.push_str(",N/A,N/A,N/A"),
        }
    }
    for index in 0..2 {
        match secrets.certificates.get(index) {
            Some(found) => {
                let _ = write!(report, ",{},{}", found.status == Status::Active, when(found.uploaded));
            }
            None => report.push_str(",false,N/A"),
        }
    }
}

async fn make(call: &Call<'_>, account: &Account) -> Answer<String> {
    let record = record(account)?;
    let age = record.password_policy.as_ref().and_then(|policy| policy.age_days_max);
    let root_arn = format!("arn:aws:iam::{}:root", account.id);
    let mut holders = vec![("<root_account>", root_arn, record.created, &record.root)];
    holders.extend(account.users.values().map(|user| {
        let arn = call.arn("user", &user.path, &user.name);
        (user.name.as_str(), arn, user.created, &user.secrets)
    }));
    let keys = holders.iter().flat_map(|(.., secrets)| secrets.access_keys.iter().map(|key| key.id.clone()));
    let mut used = call.store().last_used(keys.collect()).await?.into_iter();
    let mut report = HEADER.to_owned();
    for (name, arn, created, secrets) in holders {
        let uses: Vec<_> = used.by_ref().take(secrets.access_keys.len()).collect();
        line(&mut report, (name, &arn, created), secrets, age, &uses);
    }
    if report.len() > BYTES_MAX {
        return Err(ErrorCode::ReportGenerationLimitExceeded.with("The account has too many users for a report."));
    }
    Ok(report)
}

pub(super) async fn generate_credential_report(
    call: &Call<'_>,
    _: t::GenerateCredentialReportInput,
) -> Answer<t::GenerateCredentialReportOutput> {
    call.authorize("*")?;
    let account = call.account()?;
    let now = call.store().clock().now();
    if record(&account)?.report.as_ref().is_none_or(|(_, made)| now.since(*made) > FRESH) {
        let text = make(call, &account).await?;
        call.change(|change| {
            let mut account = (**record(change)?).clone();
            account.report = Some((text.clone(), change.now()));
            change.put(account);
            Ok(())
        })
        .await?;
    }
    Ok(t::GenerateCredentialReportOutput { state: Some("COMPLETE".to_owned()), description: None })
}

pub(super) async fn get_credential_report(
    call: &Call<'_>,
    _: t::GetCredentialReportInput,
) -> Answer<t::GetCredentialReportOutput> {
    call.authorize("*")?;
    let account = call.account()?;
    let Some((text, made)) = &record(&account)?.report else {
        return Err(ErrorCode::ReportNotPresent.with("No report was generated: use GenerateCredentialReport."));
    };
    if call.store().clock().now().since(*made) > AGE_MAX {
        return Err(ErrorCode::ReportExpired.with("The report is too old: use GenerateCredentialReport."));
    }
    Ok(t::GetCredentialReportOutput {
        content: Some(text.clone().into_bytes()),
        report_format: Some("text/csv".to_owned()),
        generated_time: Some(answers::time(*made)),
    })
}
