"""What Terraform's provider asks when it reads, changes and destroys roles, policies, users and instance profiles: every
answer must be complete, page by page, or the plan after an apply is not empty.

    terraform.py ENDPOINT...
"""

import itertools
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINTS = sys.argv[1:]
ACCOUNT = "000000000000"
CONFIG = Config(retries={"total_max_attempts": 1})
CLIENTS = [boto3.client("iam", endpoint_url=endpoint, region_name="us-east-1", config=CONFIG) for endpoint in ENDPOINTS]
ROUND = itertools.cycle(CLIENTS)
TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}]}


def iam():
    """Each call through the next node: what one has done, all tell."""
    return next(ROUND)


def document(*actions):
    statement = {"Sid": "One", "Effect": "Allow", "Action": list(actions), "Resource": "arn:aws:s3:::b/${aws:username}/*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def pages(operation, member, size=None, **arguments):
    """All items, which no page repeats, with the size of the pages."""
    config = {"PageSize": size} if size else {}
    found = [page[member] for page in iam().get_paginator(operation).paginate(PaginationConfig=config, **arguments)]
    assert all(len(items) == (size or 100) for items in found[:-1]), [len(items) for items in found]
    return list(itertools.chain.from_iterable(found))


def missing(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchEntity", error
        return
    raise AssertionError(f"{call} found something: {arguments}")


def tags(count):
    return [{"Key": f"k{number:02}", "Value": f"Wert {number} / ü="} for number in range(count)]


def policies():
    """aws_iam_policy, with more versions than there may be: the oldest goes first."""
    made = iam().create_policy(PolicyName="tf", Path="/tf/", Description="über \u2713", Tags=tags(50),
                               PolicyDocument=json.dumps(document("s3:Get*")))["Policy"]
    arn = made["Arn"]
    for number in range(2, 9):
        versions = pages("list_policy_versions", "Versions", 2, PolicyArn=arn)
        if len(versions) >= 5:
            oldest = min((v for v in versions if not v["IsDefaultVersion"]), key=lambda v: (v["CreateDate"], v["VersionId"]))
            iam().delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
        iam().create_policy_version(
            PolicyArn=arn, PolicyDocument=json.dumps(document(f"s3:Get{number}")), SetAsDefault=True)
    read = iam().get_policy(PolicyArn=arn)["Policy"]
    assert read["DefaultVersionId"] == "v8" and read["Path"] == "/tf/" and read["Description"] == "über \u2713", read
    assert sorted(read["Tags"], key=lambda tag: tag["Key"]) == tags(50), read["Tags"]
    assert pages("list_policy_tags", "Tags", 7, PolicyArn=arn) == tags(50)
    version = iam().get_policy_version(PolicyArn=arn, VersionId=read["DefaultVersionId"])["PolicyVersion"]
    assert version["Document"] == document("s3:Get8") and version["IsDefaultVersion"], version
    assert [v["VersionId"] for v in pages("list_policy_versions", "Versions", PolicyArn=arn)] == ["v8", "v7", "v6", "v5", "v4"]
    # The data source looks for a name among all.
    found = [p for p in pages("list_policies", "Policies", 3, Scope="All") if p["PolicyName"] == "tf"]
    assert [p["Arn"] for p in found] == [arn] and found[0]["PolicyId"] == made["PolicyId"]
    missing(iam().get_policy, PolicyArn=arn + "x")
    return arn


def attached_policies():
    arns = []
    for number in range(19):
        made = iam().create_policy(PolicyName=f"at-{number:02}", PolicyDocument=json.dumps(document("s3:List*")))["Policy"]
        arns.append(made["Arn"])
    return arns


def roles(boundary, arns):
    """aws_iam_role with inline policies, aws_iam_role_policy_attachment, aws_iam_instance_profile."""
    made = iam().create_role(
        RoleName="tf-role", Path="/tf/", AssumeRolePolicyDocument=json.dumps(TRUST), Description="über alles",
        MaxSessionDuration=7200, PermissionsBoundary=boundary, Tags=tags(50))["Role"]
    inline = {f"in=line+{number:02}": document(f"s3:Put{number}") for number in range(23)}
    for name, content in inline.items():
        iam().put_role_policy(RoleName="tf-role", PolicyName=name, PolicyDocument=json.dumps(content))
    for arn in [*arns, "arn:aws:iam::aws:policy/ReadOnlyAccess"]:
        iam().attach_role_policy(RoleName="tf-role", PolicyArn=arn)
    profiles = [f"tf-profile-{number}" for number in range(9)]
    for name in profiles:
        iam().create_instance_profile(InstanceProfileName=name, Path="/tf/", Tags=tags(3))
        iam().add_role_to_instance_profile(InstanceProfileName=name, RoleName="tf-role")

    read = iam().get_role(RoleName="tf-role")["Role"]
    assert read["RoleId"] == made["RoleId"] and read["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/tf/tf-role"
    assert read["CreateDate"] == made["CreateDate"] and read["RoleLastUsed"] == {}, read
    assert (read["Path"], read["Description"], read["MaxSessionDuration"]) == ("/tf/", "über alles", 7200)
    assert read["AssumeRolePolicyDocument"] == TRUST, read["AssumeRolePolicyDocument"]
    assert read["PermissionsBoundary"] == {
        "PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": boundary}, read["PermissionsBoundary"]
    assert sorted(read["Tags"], key=lambda tag: tag["Key"]) == tags(50)
    assert pages("list_role_tags", "Tags", 11, RoleName="tf-role") == tags(50)
    for size in (None, 1, 4, 23):
        names = pages("list_role_policies", "PolicyNames", size, RoleName="tf-role")
        assert names == sorted(inline), names
    for name, content in inline.items():
        got = iam().get_role_policy(RoleName="tf-role", PolicyName=name)
        assert (got["RoleName"], got["PolicyName"], got["PolicyDocument"]) == ("tf-role", name, content), got
    for size in (None, 3, 20):
        attached = pages("list_attached_role_policies", "AttachedPolicies", size, RoleName="tf-role")
        wanted = sorted([*arns, "arn:aws:iam::aws:policy/ReadOnlyAccess"])
        assert sorted(a["PolicyArn"] for a in attached) == wanted, attached
        assert all(a["PolicyName"] == a["PolicyArn"].rsplit("/", 1)[1] for a in attached), attached
    for size in (None, 2):
        listed = pages("list_instance_profiles_for_role", "InstanceProfiles", size, RoleName="tf-role")
        assert [p["InstanceProfileName"] for p in listed] == profiles, listed
        assert all([role["RoleName"] for role in p["Roles"]] == ["tf-role"] for p in listed)
    profile = iam().get_instance_profile(InstanceProfileName="tf-profile-3")["InstanceProfile"]
    assert profile["Arn"] == f"arn:aws:iam::{ACCOUNT}:instance-profile/tf/tf-profile-3" and profile["Path"] == "/tf/"
    assert [(r["RoleName"], r["RoleId"], r["AssumeRolePolicyDocument"]) for r in profile["Roles"]] == [
        ("tf-role", made["RoleId"], TRUST)], profile
    assert profile["Tags"] == tags(3), profile
    assert pages("list_instance_profile_tags", "Tags", 2, InstanceProfileName="tf-profile-3") == tags(3)
    entities = iam().list_entities_for_policy(PolicyArn=arns[0])
    assert [r["RoleId"] for r in entities["PolicyRoles"]] == [made["RoleId"]], entities
    bounded = iam().list_entities_for_policy(PolicyArn=boundary, PolicyUsageFilter="PermissionsBoundary")
    assert [r["RoleName"] for r in bounded["PolicyRoles"]] == ["tf-role"], bounded
    return profiles


def destroy_role(profiles):
    """In the provider's order: profiles, attachments, inline policies, the role."""
    for profile in pages("list_instance_profiles_for_role", "InstanceProfiles", 4, RoleName="tf-role"):
        iam().remove_role_from_instance_profile(
            InstanceProfileName=profile["InstanceProfileName"], RoleName="tf-role")
    for attached in pages("list_attached_role_policies", "AttachedPolicies", RoleName="tf-role"):
        iam().detach_role_policy(RoleName="tf-role", PolicyArn=attached["PolicyArn"])
    for name in pages("list_role_policies", "PolicyNames", 5, RoleName="tf-role"):
        iam().delete_role_policy(RoleName="tf-role", PolicyName=name)
    iam().delete_role_permissions_boundary(RoleName="tf-role")
    iam().delete_role(RoleName="tf-role")
    for call, name in [("get_role", "RoleName"), ("list_role_policies", "RoleName"), ("list_attached_role_policies", "RoleName"),
                       ("list_instance_profiles_for_role", "RoleName"), ("list_role_tags", "RoleName")]:
        missing(getattr(iam(), call), **{name: "tf-role"})
    for profile in profiles:
        assert iam().get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"] == []
        iam().delete_instance_profile(InstanceProfileName=profile)
        missing(iam().get_instance_profile, InstanceProfileName=profile)


def users(boundary, arns):
    """aws_iam_user with force_destroy, its keys, groups, policies and devices."""
    made = iam().create_user(UserName="tf-user", Path="/tf/", PermissionsBoundary=boundary, Tags=tags(50))["User"]
    read = iam().get_user(UserName="tf-user")["User"]
    assert read == made and read["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary, read
    assert pages("list_user_tags", "Tags", 13, UserName="tf-user") == tags(50)
    groups = [f"tf-group-{number}" for number in range(9)]
    for name in groups:
        iam().create_group(GroupName=name, Path="/tf/")
        iam().add_user_to_group(GroupName=name, UserName="tf-user")
        iam().put_group_policy(GroupName=name, PolicyName="p", PolicyDocument=json.dumps(document("s3:*")))
        assert iam().get_group_policy(GroupName=name, PolicyName="p")["PolicyDocument"] == document("s3:*")
    assert [g["GroupName"] for g in pages("list_groups_for_user", "Groups", 4, UserName="tf-user")] == groups
    members = iam().get_group(GroupName="tf-group-0")
    assert [u["UserId"] for u in members["Users"]] == [made["UserId"]] and members["Group"]["Path"] == "/tf/"
    for arn in arns[:7]:
        iam().attach_user_policy(UserName="tf-user", PolicyArn=arn)
    for number in range(6):
        iam().put_user_policy(UserName="tf-user", PolicyName=f"p{number}", PolicyDocument=json.dumps(document("s3:Get*")))
    keys = [iam().create_access_key(UserName="tf-user")["AccessKey"]["AccessKeyId"] for _ in range(2)]
    iam().create_login_profile(UserName="tf-user", Password="A-long-Passw0rd", PasswordResetRequired=True)
    iam().create_virtual_mfa_device(VirtualMFADeviceName="tf-device", Tags=tags(2))
    assert iam().get_login_profile(UserName="tf-user")["LoginProfile"]["PasswordResetRequired"]

    # The provider's order of force_destroy.
    for group in pages("list_groups_for_user", "Groups", UserName="tf-user"):
        iam().remove_user_from_group(GroupName=group["GroupName"], UserName="tf-user")
    found = pages("list_access_keys", "AccessKeyMetadata", 1, UserName="tf-user")
    assert sorted(key["AccessKeyId"] for key in found) == sorted(keys), found
    for key in found:
        iam().delete_access_key(UserName="tf-user", AccessKeyId=key["AccessKeyId"])
    assert iam().list_ssh_public_keys(UserName="tf-user")["SSHPublicKeys"] == []
    devices = pages("list_virtual_mfa_devices", "VirtualMFADevices", AssignmentStatus="Any")
    assert [d["SerialNumber"].rsplit("/", 1)[1] for d in devices] == ["tf-device"], devices
    assert iam().list_mfa_devices(UserName="tf-user")["MFADevices"] == []
    iam().delete_login_profile(UserName="tf-user")
    missing(iam().get_login_profile, UserName="tf-user")
    assert iam().list_signing_certificates(UserName="tf-user")["Certificates"] == []
    assert iam().list_service_specific_credentials(UserName="tf-user")["ServiceSpecificCredentials"] == []
    attached = pages("list_attached_user_policies", "AttachedPolicies", 2, UserName="tf-user")
    assert sorted(a["PolicyArn"] for a in attached) == sorted(arns[:7]), attached
    for one in attached:
        iam().detach_user_policy(UserName="tf-user", PolicyArn=one["PolicyArn"])
    names = pages("list_user_policies", "PolicyNames", 4, UserName="tf-user")
    assert names == [f"p{number}" for number in range(6)], names
    for name in names:
        iam().delete_user_policy(UserName="tf-user", PolicyName=name)
    iam().delete_user(UserName="tf-user")
    missing(iam().get_user, UserName="tf-user")
    missing(iam().list_ssh_public_keys, UserName="tf-user")
    iam().delete_virtual_mfa_device(SerialNumber=devices[0]["SerialNumber"])
    for name in groups:
        iam().delete_group_policy(GroupName=name, PolicyName="p")
        iam().delete_group(GroupName=name)


def many():
    """Lists are longer than one page by themselves."""
    names = [f"many-{number:03}" for number in range(230)]
    for name in names:
        iam().create_role(RoleName=name, Path="/many/", AssumeRolePolicyDocument=json.dumps(TRUST))
    first = iam().list_roles(PathPrefix="/many/")
    assert first["IsTruncated"] and len(first["Roles"]) == 100 and first["Marker"], len(first["Roles"])
    listed = pages("list_roles", "Roles", PathPrefix="/many/")
    assert [role["RoleName"] for role in listed] == names
    assert all(role["AssumeRolePolicyDocument"] == TRUST for role in listed)
    details = iam().get_paginator("get_account_authorization_details").paginate(Filter=["Role"])
    assert sorted(r["RoleName"] for page in details for r in page["RoleDetailList"]) == names
    for name in names:
        iam().delete_role(RoleName=name)
    assert pages("list_roles", "Roles", PathPrefix="/many/") == []


def main():
    arns = attached_policies()
    boundary = policies()
    profiles = roles(boundary, arns)
    destroy_role(profiles)
    users(boundary, arns)
    many()
    for version in pages("list_policy_versions", "Versions", PolicyArn=boundary):
        if not version["IsDefaultVersion"]:
            iam().delete_policy_version(PolicyArn=boundary, VersionId=version["VersionId"])
    for arn in [boundary, *arns]:
        iam().delete_policy(PolicyArn=arn)
    assert pages("list_policies", "Policies", Scope="Local") == []
    print("terraform: all passed")


main()
