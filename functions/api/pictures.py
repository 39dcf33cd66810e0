"""The pictures of the built-in styles, which lie beside this file."""

from __future__ import annotations

import base64
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler import Response

from errors import ApiError
from triptych.aws.styles import built_in
from triptych.failures import FailureKind
from views import StyleView

if TYPE_CHECKING:
    from triptych.styles import Style

FOLDER = Path(__file__).parent / "styles"
DAY = 86_400  # seconds


def view_of(style: Style) -> StyleView:
    """Return a style as a client sees it: without its prompt, which is the operator's."""
    preview = style.preview
    if preview is None and style in built_in():
        preview = f"/api/v1/styles/{style.id}/preview"
    return StyleView(id=style.id, name=style.name, description=style.description, preview=preview)


def preview_of(style_id: str) -> Response[str]:
    """Return the picture of a built-in style.

    Raises:
        ApiError: There is no such style.
    """
    if style_id not in {style.id for style in built_in()}:
        raise ApiError(FailureKind.ROUTE_NOT_FOUND, "There is no picture of this style.")
    answer = Response(
        status_code=HTTPStatus.OK,
        content_type="image/webp",
        headers={
            "Cache-Control": f"public, max-age={DAY}",
            "Cross-Origin-Resource-Policy": "cross-origin",  # pages of other origins show it
        },
        body=base64.b64encode((FOLDER / f"{style_id}.webp").read_bytes()).decode(),
    )
    answer.base64_encoded = True  # powertools does this for bytes, but its validation takes only text
    return answer
