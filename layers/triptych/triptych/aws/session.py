"""The one session that all clients of AWS are made of.

A session loads the endpoints and the services' models for itself, which takes half as long as importing boto3.
"""

from __future__ import annotations

import boto3
import botocore.session

from triptych.runtime.once import once


@once
def boto3_session() -> boto3.Session:
    return boto3.Session(botocore_session=botocore_session())


@once
def botocore_session() -> botocore.session.Session:
    """What is within it, for those who want no more."""
    return botocore.session.get_session()
