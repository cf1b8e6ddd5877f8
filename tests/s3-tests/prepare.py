"""Writes the suite's configuration, one file per worker, with users of its own for each.

    prepare.py ENDPOINTS ACCESS_KEY SECRET_KEY WORKERS FOLDER

The keys are the root user's. Worker k talks to the endpoint k modulo their number.
"""

import configparser
import pathlib
import sys

import boto3
from botocore.config import Config

SECTIONS = ["s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root"]


def root_user(endpoint, access_key, secret_key):
    """The root user's keys and canonical id, as the suite wants to know them."""
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"max_attempts": 0}),
    )
    owner = s3.list_buckets()["Owner"]
    return {
        "access_key": access_key,
        "secret_key": secret_key,
        "user_id": owner["ID"],
        "display_name": owner.get("DisplayName", ""),
        "email": "root@example.com",
    }


def configuration(endpoint, users):
    """The suite's file for users by section."""
    host, _, port = endpoint.removeprefix("http://").rpartition(":")
    conf = configparser.RawConfigParser()
    conf["DEFAULT"] = {"host": host, "port": port, "is_secure": "False", "ssl_verify": "False"}
    conf["fixtures"] = {
        "bucket prefix": "karri-{random}-",
        "iam name prefix": "karri-",
        "iam path prefix": "/karri/",
    }
    for section in SECTIONS:
        conf[section] = dict(users[section])
    conf["s3 tenant"]["tenant"] = ""
    return conf


def main():
    endpoints, access_key, secret_key, workers, folder = sys.argv[1:]
    endpoints = endpoints.split(",")
    root = root_user(endpoints[0], access_key, secret_key)
    for worker in range(int(workers)):
        conf = configuration(endpoints[worker % len(endpoints)], {section: root for section in SECTIONS})
        with open(pathlib.Path(folder) / f"{worker}.conf", "w", encoding="utf-8") as file:
            conf.write(file)


main()
