"""Init, as Lambda calls all that happens before the first event: each function imports this first.

What is imported stays. Python would look through it for garbage again and again, which takes a tenth of init.
"""

from __future__ import annotations

import gc

gc.disable()


def done() -> None:
    """Collect garbage from here on, and leave alone what init has made. The last line of each function."""
    gc.freeze()
    gc.enable()
