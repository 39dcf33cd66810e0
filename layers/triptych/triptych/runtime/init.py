"""The init phase: everything before a function's first event. Each function imports this module first.

Imported modules stay in memory. Searching them for garbage again and again would take a tenth of init.
"""

from __future__ import annotations

import gc

gc.disable()


def done() -> None:
    """End the init phase: collect garbage from here on, but not among the objects that init made."""
    gc.freeze()
    gc.enable()
