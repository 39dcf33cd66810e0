"""The one boto3 session that every AWS client is made from.

Each session loads the endpoints and the services' models again, which takes half as long as importing boto3.
"""

from __future__ import annotations

import boto3
import botocore.session
from botocore.config import Config

from triptych.runtime.once import once

# For requests without a large body.
BRIEF = Config(connect_timeout=2, read_timeout=4, retries={"mode": "standard", "max_attempts": 3})
# For a request that nothing depends on.
IMPATIENT = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})


@once
def boto3_session() -> boto3.Session:
    """Return the session, for clients of boto3."""
    return boto3.Session(botocore_session=botocore_session())


@once
def botocore_session() -> botocore.session.Session:
    """Return the botocore session inside it, for PynamoDB."""
    return botocore.session.get_session()
