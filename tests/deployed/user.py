"""Temporary users of the stack's Cognito pool. They are deleted when the judgement ends, however it ends."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from tests.deployed.verdict import ProblemError

if TYPE_CHECKING:
    from tests.deployed.stack import Stack


@dataclass(frozen=True)
class User:
    """A user with a token. Only a temporary user has an e-mail address and a password here."""

    token: str = field(repr=False)
    email: str = ""
    password: str = field(default="", repr=False)

    @property
    def owner(self) -> str:
        """The token's `sub`, which is the owner of the user's jobs."""
        claims = self.token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])


def create(stack: Stack) -> User:
    """Create a temporary user and sign in."""
    pool, client_id = stack.outputs["UserPoolId"], stack.outputs["UserPoolClientId"]
    cognito = stack.client("cognito-idp")
    user = User("", f"judge-{secrets.token_hex(8)}@example.com", f"Aa1-{secrets.token_urlsafe(24)}")
    try:
        cognito.admin_create_user(
            UserPoolId=pool,
            Username=user.email,
            MessageAction="SUPPRESS",
            UserAttributes=[
                {"Name": "email", "Value": user.email},
                {"Name": "email_verified", "Value": "true"},
            ],
        )
        cognito.admin_set_user_password(
            UserPoolId=pool, Username=user.email, Password=user.password, Permanent=True
        )
        tokens = cognito.initiate_auth(
            ClientId=client_id,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": user.email, "PASSWORD": user.password},
        )["AuthenticationResult"]
    except BaseException:  # Ctrl-C, too
        delete(stack, user)
        raise
    return replace(user, token=tokens["IdToken"])


def delete(stack: Stack, user: User) -> None:
    """Delete a temporary user. A user that is not there is no error.

    Raises:
        ProblemError: The user remains. The message holds the command.
    """
    pool, cognito = stack.outputs["UserPoolId"], stack.client("cognito-idp")
    try:
        cognito.admin_delete_user(UserPoolId=pool, Username=user.email)
    except cognito.exceptions.UserNotFoundException:
        return
    except (BotoCoreError, ClientError) as error:
        raise ProblemError(
            f"The temporary user remains ({error}). Delete it: aws cognito-idp admin-delete-user "
            f"--user-pool-id {pool} --username {user.email}"
        ) from error
