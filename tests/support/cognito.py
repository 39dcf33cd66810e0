"""Users of a stack's own Cognito user pool."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

USERS = ("ada@example.com", "grace@example.com")


def sign_up(cognito: CognitoIdentityProviderClient, outputs: Mapping[str, str]) -> tuple[str, ...]:
    """Create the users in the stack's pool, as an operator does; return an ID token of each.

    Args:
        cognito: A client with the rights of an operator.
        outputs: The stack's outputs. Without a pool among them, there are no users.
    """
    if "UserPoolId" not in outputs:
        return ()
    return tuple(_token(cognito, outputs["UserPoolId"], outputs["UserPoolClientId"], user) for user in USERS)


def _token(cognito: CognitoIdentityProviderClient, pool: str, client: str, user: str) -> str:
    password = f"{secrets.token_urlsafe(18)}-aA1"
    cognito.admin_create_user(UserPoolId=pool, Username=user, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=user, Password=password, Permanent=True)
    signed_in = cognito.initiate_auth(
        ClientId=client,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": user, "PASSWORD": password},
    )
    return signed_in["AuthenticationResult"]["IdToken"]
