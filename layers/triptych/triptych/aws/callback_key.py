"""The key of the stack's callbacks for single jobs: a secret in Secrets Manager, which CloudFormation creates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.aws import session
from triptych.runtime.observability import logger
from triptych.runtime.once import once
from triptych.settings import MisconfiguredError, settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters.secrets import SecretsProvider

KEY_SECONDS = 300  # how long a process keeps it


def read() -> str:
    """Return the key.

    Raises:
        MisconfiguredError: The stack has no such key, or this function may not read it.
    """
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError  # noqa: PLC0415  # slow to import

    arn = settings().job_callback_key
    if not arn:
        raise MisconfiguredError("allowed_callback_hosts: the stack has no key for callbacks")
    try:
        return str(_provider().get(arn, max_age=KEY_SECONDS))
    except GetParameterError as error:
        logger.error("no callback key", reason=type(error.__context__).__name__)  # powertools sets no cause
        raise MisconfiguredError("job_callback_key cannot be read") from None


@once
def _provider() -> SecretsProvider:
    from aws_lambda_powertools.utilities.parameters.secrets import SecretsProvider  # noqa: PLC0415  # as above

    return SecretsProvider(boto_config=session.BRIEF, boto3_session=session.boto3_session())
