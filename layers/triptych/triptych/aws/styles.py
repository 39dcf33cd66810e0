"""The operator's catalogue of styles: an SSM parameter, or the built-in one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from triptych import styles
from triptych.aws import parameters
from triptych.settings import MisconfiguredError, settings

BUILT_IN = Path(styles.__file__).with_suffix(".json")
CATALOGUE_SECONDS = 300  # how long a process keeps it


def catalogue() -> tuple[styles.Style, ...]:
    """Return the styles that a client may choose.

    Raises:
        MisconfiguredError: StylesParameter names no readable parameter, or one that is not a catalogue.
    """
    name = settings().styles_parameter
    if not name:
        return built_in()
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError  # noqa: PLC0415  # slow to import

    try:
        return styles.parse(str(parameters.provider().get(name, max_age=CATALOGUE_SECONDS)))
    except GetParameterError:
        raise MisconfiguredError(f"styles_parameter: {name} cannot be read") from None
    except styles.StylesError as error:
        raise MisconfiguredError(f"styles_parameter: {error}") from None


@cache
def built_in() -> tuple[styles.Style, ...]:
    """Return the styles that come with Triptych."""
    return styles.parse(BUILT_IN.read_text(encoding="utf-8"))
