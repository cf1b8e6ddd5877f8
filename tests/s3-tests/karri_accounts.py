"""A plugin for pytest: accounts in the policies of the suite's S3 cases.

The suite has one name for a user, which in lists of access is the canonical id. In AWS's policies `aws:SourceAccount` is
the account's number: it is put there for the id, and nothing else of a policy is touched. As for the cases of IAM, clients
that are made for no region sign for us-east-1.
"""

import configparser
import os

import boto3
import karri_names


def pytest_collection_finish(session):
    conf = configparser.RawConfigParser()
    conf.read(os.environ.get("S3TEST_CONF", ""))
    sections = [conf[name] for name in conf.sections() if conf.has_option(name, "account_id")]
    numbers = {section["user_id"]: section["account_id"] for section in sections}

    def request(params, **_):
        for canonical_id, number in numbers.items():
            params["Policy"] = params["Policy"].replace(
                f'"aws:SourceAccount": "{canonical_id}"', f'"aws:SourceAccount": "{number}"'
            )
        return params

    karri_names.sign_for_a_region()
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    boto3.DEFAULT_SESSION.events.register("provide-client-params.s3.PutBucketPolicy", request)
