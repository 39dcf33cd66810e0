"""SSM parameters, through powertools, which keeps what it has read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.aws import session
from triptych.runtime.once import once

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SSMProvider


@once
def provider() -> SSMProvider:
    from aws_lambda_powertools.utilities.parameters import SSMProvider  # noqa: PLC0415  # slow to import, and not always used

    return SSMProvider(boto_config=session.BRIEF, boto3_session=session.boto3_session())
