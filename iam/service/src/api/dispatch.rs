//! From a form to the action's handler and to the document of its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use karri_iam_policy::{Principal, PrincipalKind};
use karri_iam_wire::iam::{self, ErrorCode, Operation, types as t};
use karri_iam_wire::{Form, WireError};

use super::{
    ADMIN_ACCOUNT, Answer, Api, Call, CallInfo, account_policies, accounts, certificates, details, groups, inline,
    keys, managed_policies, mfa, oidc, passwords, profiles, report, roles, simulate, tags, templates, users,
};

/// The parameter by which the cloud's administrator names another account, as Eucalyptus has it.
const DELEGATE: &str = "DelegateAccount";

/// An answered request: the operation, if it is one, and its document or refusal.
pub struct Answered {
    /// The operation.
    pub operation: Option<&'static str>,
    /// Its document.
    pub result: Result<Vec<u8>, WireError>,
}

macro_rules! handlers {
    ($($operation:ident: $module:ident::$handler:ident, $parse:ident, $write:ident, $kind:ident $($output:ident)?;)*) => {
        async fn handle(operation: Operation, call: &Call<'_>, form: &Form, request_id: &str) -> Answer<Vec<u8>> {
            match operation {
                $(Operation::$operation => {
                    let input = iam::$parse(form)?;
                    let answer = $module::$handler(call, input).await?;
                    handlers!(@write $write, $kind, answer, request_id $(, $output)?)
                })*
            }
        }
    };
    (@write $write:ident, full, $answer:ident, $id:ident) => { Ok(iam::$write(&$answer, $id)) };
    (@write $write:ident, unit, $answer:ident, $id:ident, $output:ident) => {{
        let () = $answer;
        Ok(iam::$write(&t::$output {}, $id))
    }};
}

handlers! {
    AddClientIdToOpenIdConnectProvider: oidc::add_client_id_to_open_id_connect_provider, parse_add_client_id_to_open_id_connect_provider, write_add_client_id_to_open_id_connect_provider, unit AddClientIdToOpenIdConnectProviderOutput;
    AddRoleToInstanceProfile: profiles::add_role_to_instance_profile, parse_add_role_to_instance_profile, write_add_role_to_instance_profile, unit AddRoleToInstanceProfileOutput;
    AddUserToGroup: groups::add_user_to_group, parse_add_user_to_group, write_add_user_to_group, unit AddUserToGroupOutput;
    AttachGroupPolicy: inline::attach_group_policy, parse_attach_group_policy, write_attach_group_policy, unit AttachGroupPolicyOutput;
    AttachRolePolicy: inline::attach_role_policy, parse_attach_role_policy, write_attach_role_policy, unit AttachRolePolicyOutput;
    AttachUserPolicy: inline::attach_user_policy, parse_attach_user_policy, write_attach_user_policy, unit AttachUserPolicyOutput;
    ChangePassword: passwords::change_password, parse_change_password, write_change_password, unit ChangePasswordOutput;
    CompareRoleTemplate: templates::compare_role_template, parse_compare_role_template, write_compare_role_template, full;
    CreateAccessKey: keys::create_access_key, parse_create_access_key, write_create_access_key, full;
    CreateAccount: accounts::create_account, parse_create_account, write_create_account, full;
    CreateAccountAlias: accounts::create_account_alias, parse_create_account_alias, write_create_account_alias, unit CreateAccountAliasOutput;
    CreateGroup: groups::create_group, parse_create_group, write_create_group, full;
    CreateInstanceProfile: profiles::create_instance_profile, parse_create_instance_profile, write_create_instance_profile, full;
    CreateLoginProfile: passwords::create_login_profile, parse_create_login_profile, write_create_login_profile, full;
    CreateOpenIdConnectProvider: oidc::create_open_id_connect_provider, parse_create_open_id_connect_provider, write_create_open_id_connect_provider, full;
    CreatePolicy: managed_policies::create_policy, parse_create_policy, write_create_policy, full;
    CreatePolicyVersion: managed_policies::create_policy_version, parse_create_policy_version, write_create_policy_version, full;
    CreateRole: roles::create_role, parse_create_role, write_create_role, full;
    CreateUser: users::create_user, parse_create_user, write_create_user, full;
    CreateVirtualMfaDevice: mfa::create_virtual_mfa_device, parse_create_virtual_mfa_device, write_create_virtual_mfa_device, full;
    DeactivateMfaDevice: mfa::deactivate_mfa_device, parse_deactivate_mfa_device, write_deactivate_mfa_device, unit DeactivateMfaDeviceOutput;
    DeleteAccessKey: keys::delete_access_key, parse_delete_access_key, write_delete_access_key, unit DeleteAccessKeyOutput;
    DeleteAccount: accounts::delete_account, parse_delete_account, write_delete_account, unit DeleteAccountOutput;
    DeleteAccountAlias: accounts::delete_account_alias, parse_delete_account_alias, write_delete_account_alias, unit DeleteAccountAliasOutput;
    DeleteAccountPasswordPolicy: passwords::delete_account_password_policy, parse_delete_account_password_policy, write_delete_account_password_policy, unit DeleteAccountPasswordPolicyOutput;
    DeleteAccountPolicy: account_policies::delete_account_policy, parse_delete_account_policy, write_delete_account_policy, unit DeleteAccountPolicyOutput;
    DeleteGroup: groups::delete_group, parse_delete_group, write_delete_group, unit DeleteGroupOutput;
    DeleteGroupPolicy: inline::delete_group_policy, parse_delete_group_policy, write_delete_group_policy, unit DeleteGroupPolicyOutput;
    DeleteInstanceProfile: profiles::delete_instance_profile, parse_delete_instance_profile, write_delete_instance_profile, unit DeleteInstanceProfileOutput;
    DeleteLoginProfile: passwords::delete_login_profile, parse_delete_login_profile, write_delete_login_profile, unit DeleteLoginProfileOutput;
    DeleteOpenIdConnectProvider: oidc::delete_open_id_connect_provider, parse_delete_open_id_connect_provider, write_delete_open_id_connect_provider, unit DeleteOpenIdConnectProviderOutput;
    DeletePolicy: managed_policies::delete_policy, parse_delete_policy, write_delete_policy, unit DeletePolicyOutput;
    DeletePolicyVersion: managed_policies::delete_policy_version, parse_delete_policy_version, write_delete_policy_version, unit DeletePolicyVersionOutput;
    DeleteRole: roles::delete_role, parse_delete_role, write_delete_role, unit DeleteRoleOutput;
    DeleteRolePermissionsBoundary: roles::delete_role_permissions_boundary, parse_delete_role_permissions_boundary, write_delete_role_permissions_boundary, unit DeleteRolePermissionsBoundaryOutput;
    DeleteRolePolicy: inline::delete_role_policy, parse_delete_role_policy, write_delete_role_policy, unit DeleteRolePolicyOutput;
    DeleteServerCertificate: certificates::delete_server_certificate, parse_delete_server_certificate, write_delete_server_certificate, unit DeleteServerCertificateOutput;
    DeleteSigningCertificate: certificates::delete_signing_certificate, parse_delete_signing_certificate, write_delete_signing_certificate, unit DeleteSigningCertificateOutput;
    DeleteUser: users::delete_user, parse_delete_user, write_delete_user, unit DeleteUserOutput;
    DeleteUserPermissionsBoundary: users::delete_user_permissions_boundary, parse_delete_user_permissions_boundary, write_delete_user_permissions_boundary, unit DeleteUserPermissionsBoundaryOutput;
    DeleteUserPolicy: inline::delete_user_policy, parse_delete_user_policy, write_delete_user_policy, unit DeleteUserPolicyOutput;
    DeleteVirtualMfaDevice: mfa::delete_virtual_mfa_device, parse_delete_virtual_mfa_device, write_delete_virtual_mfa_device, unit DeleteVirtualMfaDeviceOutput;
    DetachGroupPolicy: inline::detach_group_policy, parse_detach_group_policy, write_detach_group_policy, unit DetachGroupPolicyOutput;
    DetachRolePolicy: inline::detach_role_policy, parse_detach_role_policy, write_detach_role_policy, unit DetachRolePolicyOutput;
    DetachUserPolicy: inline::detach_user_policy, parse_detach_user_policy, write_detach_user_policy, unit DetachUserPolicyOutput;
    EnableMfaDevice: mfa::enable_mfa_device, parse_enable_mfa_device, write_enable_mfa_device, unit EnableMfaDeviceOutput;
    GenerateCredentialReport: report::generate_credential_report, parse_generate_credential_report, write_generate_credential_report, full;
    GetAccessKeyLastUsed: keys::get_access_key_last_used, parse_get_access_key_last_used, write_get_access_key_last_used, full;
    GetAccountAuthorizationDetails: details::get_account_authorization_details, parse_get_account_authorization_details, write_get_account_authorization_details, full;
    GetAccountPasswordPolicy: passwords::get_account_password_policy, parse_get_account_password_policy, write_get_account_password_policy, full;
    GetAccountPolicy: account_policies::get_account_policy, parse_get_account_policy, write_get_account_policy, full;
    GetAccountSummary: details::get_account_summary, parse_get_account_summary, write_get_account_summary, full;
    GetContextKeysForCustomPolicy: simulate::get_context_keys_for_custom_policy, parse_get_context_keys_for_custom_policy, write_get_context_keys_for_custom_policy, full;
    GetContextKeysForPrincipalPolicy: simulate::get_context_keys_for_principal_policy, parse_get_context_keys_for_principal_policy, write_get_context_keys_for_principal_policy, full;
    GetCredentialReport: report::get_credential_report, parse_get_credential_report, write_get_credential_report, full;
    GetGroup: groups::get_group, parse_get_group, write_get_group, full;
    GetGroupPolicy: inline::get_group_policy, parse_get_group_policy, write_get_group_policy, full;
    GetInstanceProfile: profiles::get_instance_profile, parse_get_instance_profile, write_get_instance_profile, full;
    GetLoginProfile: passwords::get_login_profile, parse_get_login_profile, write_get_login_profile, full;
    GetMfaDevice: mfa::get_mfa_device, parse_get_mfa_device, write_get_mfa_device, full;
    GetOpenIdConnectProvider: oidc::get_open_id_connect_provider, parse_get_open_id_connect_provider, write_get_open_id_connect_provider, full;
    GetPolicy: managed_policies::get_policy, parse_get_policy, write_get_policy, full;
    GetPolicyVersion: managed_policies::get_policy_version, parse_get_policy_version, write_get_policy_version, full;
    GetRole: roles::get_role, parse_get_role, write_get_role, full;
    GetRolePolicy: inline::get_role_policy, parse_get_role_policy, write_get_role_policy, full;
    GetRoleTemplate: templates::get_role_template, parse_get_role_template, write_get_role_template, full;
    GetServerCertificate: certificates::get_server_certificate, parse_get_server_certificate, write_get_server_certificate, full;
    GetUser: users::get_user, parse_get_user, write_get_user, full;
    GetUserPolicy: inline::get_user_policy, parse_get_user_policy, write_get_user_policy, full;
    InstallRoleTemplate: templates::install_role_template, parse_install_role_template, write_install_role_template, full;
    ListAccessKeys: keys::list_access_keys, parse_list_access_keys, write_list_access_keys, full;
    ListAccountAliases: accounts::list_account_aliases, parse_list_account_aliases, write_list_account_aliases, full;
    ListAccountPolicies: account_policies::list_account_policies, parse_list_account_policies, write_list_account_policies, full;
    ListAccounts: accounts::list_accounts, parse_list_accounts, write_list_accounts, full;
    ListAttachedGroupPolicies: inline::list_attached_group_policies, parse_list_attached_group_policies, write_list_attached_group_policies, full;
    ListAttachedRolePolicies: inline::list_attached_role_policies, parse_list_attached_role_policies, write_list_attached_role_policies, full;
    ListAttachedUserPolicies: inline::list_attached_user_policies, parse_list_attached_user_policies, write_list_attached_user_policies, full;
    ListEntitiesForPolicy: managed_policies::list_entities_for_policy, parse_list_entities_for_policy, write_list_entities_for_policy, full;
    ListGroupPolicies: inline::list_group_policies, parse_list_group_policies, write_list_group_policies, full;
    ListGroups: groups::list_groups, parse_list_groups, write_list_groups, full;
    ListGroupsForUser: groups::list_groups_for_user, parse_list_groups_for_user, write_list_groups_for_user, full;
    ListInstanceProfileTags: tags::list_instance_profile_tags, parse_list_instance_profile_tags, write_list_instance_profile_tags, full;
    ListInstanceProfiles: profiles::list_instance_profiles, parse_list_instance_profiles, write_list_instance_profiles, full;
    ListInstanceProfilesForRole: profiles::list_instance_profiles_for_role, parse_list_instance_profiles_for_role, write_list_instance_profiles_for_role, full;
    ListMfaDeviceTags: tags::list_mfa_device_tags, parse_list_mfa_device_tags, write_list_mfa_device_tags, full;
    ListMfaDevices: mfa::list_mfa_devices, parse_list_mfa_devices, write_list_mfa_devices, full;
    ListOpenIdConnectProviderTags: tags::list_open_id_connect_provider_tags, parse_list_open_id_connect_provider_tags, write_list_open_id_connect_provider_tags, full;
    ListOpenIdConnectProviders: oidc::list_open_id_connect_providers, parse_list_open_id_connect_providers, write_list_open_id_connect_providers, full;
    ListPolicies: managed_policies::list_policies, parse_list_policies, write_list_policies, full;
    ListPolicyTags: tags::list_policy_tags, parse_list_policy_tags, write_list_policy_tags, full;
    ListPolicyVersions: managed_policies::list_policy_versions, parse_list_policy_versions, write_list_policy_versions, full;
    ListRolePolicies: inline::list_role_policies, parse_list_role_policies, write_list_role_policies, full;
    ListRoleTags: tags::list_role_tags, parse_list_role_tags, write_list_role_tags, full;
    ListRoleTemplates: templates::list_role_templates, parse_list_role_templates, write_list_role_templates, full;
    ListRoles: roles::list_roles, parse_list_roles, write_list_roles, full;
    ListServerCertificateTags: tags::list_server_certificate_tags, parse_list_server_certificate_tags, write_list_server_certificate_tags, full;
    ListServerCertificates: certificates::list_server_certificates, parse_list_server_certificates, write_list_server_certificates, full;
    ListServiceSpecificCredentials: keys::list_service_specific_credentials, parse_list_service_specific_credentials, write_list_service_specific_credentials, full;
    ListSigningCertificates: certificates::list_signing_certificates, parse_list_signing_certificates, write_list_signing_certificates, full;
    ListSshPublicKeys: keys::list_ssh_public_keys, parse_list_ssh_public_keys, write_list_ssh_public_keys, full;
    ListUserPolicies: inline::list_user_policies, parse_list_user_policies, write_list_user_policies, full;
    ListUserTags: tags::list_user_tags, parse_list_user_tags, write_list_user_tags, full;
    ListUsers: users::list_users, parse_list_users, write_list_users, full;
    ListVirtualMfaDevices: mfa::list_virtual_mfa_devices, parse_list_virtual_mfa_devices, write_list_virtual_mfa_devices, full;
    PutAccountPolicy: account_policies::put_account_policy, parse_put_account_policy, write_put_account_policy, unit PutAccountPolicyOutput;
    PutGroupPolicy: inline::put_group_policy, parse_put_group_policy, write_put_group_policy, unit PutGroupPolicyOutput;
    PutRolePermissionsBoundary: roles::put_role_permissions_boundary, parse_put_role_permissions_boundary, write_put_role_permissions_boundary, unit PutRolePermissionsBoundaryOutput;
    PutRolePolicy: inline::put_role_policy, parse_put_role_policy, write_put_role_policy, unit PutRolePolicyOutput;
    PutUserPermissionsBoundary: users::put_user_permissions_boundary, parse_put_user_permissions_boundary, write_put_user_permissions_boundary, unit PutUserPermissionsBoundaryOutput;
    PutUserPolicy: inline::put_user_policy, parse_put_user_policy, write_put_user_policy, unit PutUserPolicyOutput;
    RemoveClientIdFromOpenIdConnectProvider: oidc::remove_client_id_from_open_id_connect_provider, parse_remove_client_id_from_open_id_connect_provider, write_remove_client_id_from_open_id_connect_provider, unit RemoveClientIdFromOpenIdConnectProviderOutput;
    RemoveRoleFromInstanceProfile: profiles::remove_role_from_instance_profile, parse_remove_role_from_instance_profile, write_remove_role_from_instance_profile, unit RemoveRoleFromInstanceProfileOutput;
    RemoveUserFromGroup: groups::remove_user_from_group, parse_remove_user_from_group, write_remove_user_from_group, unit RemoveUserFromGroupOutput;
    ResyncMfaDevice: mfa::resync_mfa_device, parse_resync_mfa_device, write_resync_mfa_device, unit ResyncMfaDeviceOutput;
    SetDefaultPolicyVersion: managed_policies::set_default_policy_version, parse_set_default_policy_version, write_set_default_policy_version, unit SetDefaultPolicyVersionOutput;
    SimulateCustomPolicy: simulate::simulate_custom_policy, parse_simulate_custom_policy, write_simulate_custom_policy, full;
    SimulatePrincipalPolicy: simulate::simulate_principal_policy, parse_simulate_principal_policy, write_simulate_principal_policy, full;
    TagInstanceProfile: tags::tag_instance_profile, parse_tag_instance_profile, write_tag_instance_profile, unit TagInstanceProfileOutput;
    TagMfaDevice: tags::tag_mfa_device, parse_tag_mfa_device, write_tag_mfa_device, unit TagMfaDeviceOutput;
    TagOpenIdConnectProvider: tags::tag_open_id_connect_provider, parse_tag_open_id_connect_provider, write_tag_open_id_connect_provider, unit TagOpenIdConnectProviderOutput;
    TagPolicy: tags::tag_policy, parse_tag_policy, write_tag_policy, unit TagPolicyOutput;
    TagRole: tags::tag_role, parse_tag_role, write_tag_role, unit TagRoleOutput;
    TagServerCertificate: tags::tag_server_certificate, parse_tag_server_certificate, write_tag_server_certificate, unit TagServerCertificateOutput;
    TagUser: tags::tag_user, parse_tag_user, write_tag_user, unit TagUserOutput;
    UntagInstanceProfile: tags::untag_instance_profile, parse_untag_instance_profile, write_untag_instance_profile, unit UntagInstanceProfileOutput;
    UntagMfaDevice: tags::untag_mfa_device, parse_untag_mfa_device, write_untag_mfa_device, unit UntagMfaDeviceOutput;
    UntagOpenIdConnectProvider: tags::untag_open_id_connect_provider, parse_untag_open_id_connect_provider, write_untag_open_id_connect_provider, unit UntagOpenIdConnectProviderOutput;
    UntagPolicy: tags::untag_policy, parse_untag_policy, write_untag_policy, unit UntagPolicyOutput;
    UntagRole: tags::untag_role, parse_untag_role, write_untag_role, unit UntagRoleOutput;
    UntagServerCertificate: tags::untag_server_certificate, parse_untag_server_certificate, write_untag_server_certificate, unit UntagServerCertificateOutput;
    UntagUser: tags::untag_user, parse_untag_user, write_untag_user, unit UntagUserOutput;
    UpdateAccessKey: keys::update_access_key, parse_update_access_key, write_update_access_key, unit UpdateAccessKeyOutput;
    UpdateAccountPasswordPolicy: passwords::update_account_password_policy, parse_update_account_password_policy, write_update_account_password_policy, unit UpdateAccountPasswordPolicyOutput;
    UpdateAssumeRolePolicy: roles::update_assume_role_policy, parse_update_assume_role_policy, write_update_assume_role_policy, unit UpdateAssumeRolePolicyOutput;
    UpdateGroup: groups::update_group, parse_update_group, write_update_group, unit UpdateGroupOutput;
    UpdateLoginProfile: passwords::update_login_profile, parse_update_login_profile, write_update_login_profile, unit UpdateLoginProfileOutput;
    UpdateOpenIdConnectProviderThumbprint: oidc::update_open_id_connect_provider_thumbprint, parse_update_open_id_connect_provider_thumbprint, write_update_open_id_connect_provider_thumbprint, unit UpdateOpenIdConnectProviderThumbprintOutput;
    UpdateRole: roles::update_role, parse_update_role, write_update_role, unit UpdateRoleOutput;
    UpdateRoleDescription: roles::update_role_description, parse_update_role_description, write_update_role_description, full;
    UpdateServerCertificate: certificates::update_server_certificate, parse_update_server_certificate, write_update_server_certificate, unit UpdateServerCertificateOutput;
    UpdateSigningCertificate: certificates::update_signing_certificate, parse_update_signing_certificate, write_update_signing_certificate, unit UpdateSigningCertificateOutput;
    UpdateUser: users::update_user, parse_update_user, write_update_user, unit UpdateUserOutput;
    UploadServerCertificate: certificates::upload_server_certificate, parse_upload_server_certificate, write_upload_server_certificate, full;
    UploadSigningCertificate: certificates::upload_signing_certificate, parse_upload_signing_certificate, write_upload_signing_certificate, full;
}

/// Whether credentials of this kind are good for IAM. As AWS documents it, those of GetSessionToken are with a second
/// factor only, and those of GetFederationToken never.
fn is_let_in(caller: &Principal) -> bool {
    match (&caller.kind, &caller.session) {
        (PrincipalKind::FederatedUser, _) => false,
        (PrincipalKind::User | PrincipalKind::AccountRoot, Some(session)) => session.mfa_at_seconds.is_some(),
        _ => true,
    }
}

impl Api {
    /// Answers the request in `form`.
    pub async fn answer(&self, form: &Form, info: &CallInfo, request_id: &str) -> Answered {
        let operation = match iam::route(form) {
            Ok(operation) => operation,
            Err(error) => return Answered { operation: None, result: Err(error) },
        };
        let name = operation.as_str();
        if !is_let_in(&info.caller) {
            let refusal = ErrorCode::InvalidClientTokenId.into();
            return Answered { operation: Some(name), result: Err(refusal) };
        }
        let delegated;
        let info = match form.text(DELEGATE) {
            Some(account) => match self.delegate(info, account).await {
                Ok(info) => {
                    delegated = info;
                    &delegated
                }
                Err(error) => return Answered { operation: Some(name), result: Err(error) },
            },
            None => info,
        };
        let call = Call { api: self, info, action: format!("iam:{name}"), is_authorized: AtomicBool::new(false) };
        // What is decided and answered here is never older than the request.
        let result = match self.store.refresh().await {
            Ok(()) => handle(operation, &call, form, request_id).await,
            Err(error) => Err(error.into()),
        };
        if !call.is_authorized.load(Ordering::Relaxed) && result.is_ok() {
            tracing::error!(operation = name, "an action was answered without a decision about its caller");
            return Answered { operation: Some(name), result: Err(ErrorCode::InternalFailure.into()) };
        }
        Answered { operation: Some(name), result }
    }

    /// The root user of the cloud administrator's account may act as any other account's.
    async fn delegate(&self, info: &CallInfo, account: &str) -> Answer<CallInfo> {
        if info.caller.kind != PrincipalKind::AccountRoot || info.caller.account_id != ADMIN_ACCOUNT {
            let message = format!("User: {} is not authorized to act for account {account}", info.caller.arn);
            return Err(ErrorCode::AccessDenied.with(message));
        }
        self.store.refresh().await?;
        let view = self.store.view();
        let found = view.account_by_alias(account).or_else(|| view.account(account));
        let missing = || ErrorCode::NoSuchEntity.with(format!("The account with name {account} cannot be found."));
        let found = found.ok_or_else(missing)?;
        let record = super::record(&found)?;
        let caller = Arc::new(Principal::account_root(record.id.clone(), record.canonical_id.clone()));
        tracing::info!(account = record.id, "the cloud's administrator acts for an account");
        Ok(CallInfo { caller, ..info.clone() })
    }
}
