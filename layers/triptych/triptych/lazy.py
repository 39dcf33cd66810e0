"""The base of models that not every first event needs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Lazy(BaseModel):
    """A model whose validators pydantic builds when it is first used, or never if only another model holds it."""

    model_config = ConfigDict(defer_build=True)
