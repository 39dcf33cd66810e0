"""Temporary users of the stack's Cognito pool. They are deleted when the judgement ends, however it ends."""

from __future__ import annotations

import base64
import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.deployed.verdict import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deployed.stack import Stack


@dataclass(frozen=True)
class User:
    """A user with a token. Only a temporary user has an e-mail address and a password here."""

    token: str
    email: str = ""
    password: str = field(default="", repr=False)

    @property
    def owner(self) -> str:
        """The token's `sub`, which is the owner of the user's jobs."""
        claims = self.token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])


@contextmanager
def temporary(stack: Stack) -> Iterator[User]:
    """Create a user and sign in; delete the user when the context ends.

    Raises:
        ProblemError: The user cannot be deleted. The message holds the command.
    """
    pool, client_id = stack.outputs["UserPoolId"], stack.outputs["UserPoolClientId"]
    cognito = stack.client("cognito-idp")
    email = f"judge-{secrets.token_hex(8)}@example.com"
    password = f"Aa1-{secrets.token_urlsafe(24)}"
    try:
        cognito.admin_create_user(
            UserPoolId=pool,
            Username=email,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
        )
        cognito.admin_set_user_password(UserPoolId=pool, Username=email, Password=password, Permanent=True)
        tokens = cognito.initiate_auth(
            ClientId=client_id,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": email, "PASSWORD": password},
        )["AuthenticationResult"]
        yield User(tokens["IdToken"], email, password)
    finally:
        try:
            cognito.admin_delete_user(UserPoolId=pool, Username=email)
        except cognito.exceptions.UserNotFoundException:
            pass
        except Exception as error:
            raise ProblemError(
                f"The temporary user remains ({error}). Delete it: aws cognito-idp admin-delete-user "
                f"--user-pool-id {pool} --username {email}"
            ) from error
