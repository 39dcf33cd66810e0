"""The one session that all clients of AWS are made of.

A session loads the endpoints and the services' models for itself. This one is botocore's own: boto3 takes a sixth longer
to import, for managed transfers and resources that nobody here uses.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session

if TYPE_CHECKING:
    from botocore.config import Config


@cache
def session() -> botocore.session.Session:
    return botocore.session.get_session()


def client(service: str, config: Config) -> Any:  # noqa: ANN401  # botocore makes its class at run time
    return session().create_client(service, config=config)
