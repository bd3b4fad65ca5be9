"""A stand-in for S3, asked through a pipe; the other end is tests/support/lake.py."""

from __future__ import annotations

import json
import os
import sys

import boto3  # type: ignore[import-not-found]  # installed in .lake alone
from moto.server import ThreadedMotoServer  # type: ignore[import-not-found]

replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # the server prints
for line in sys.stdin:
    _, port, bucket = json.loads(line)
    ThreadedMotoServer(ip_address="127.0.0.1", port=int(port)).start()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket)
    replies.write("true\n")
    replies.flush()
