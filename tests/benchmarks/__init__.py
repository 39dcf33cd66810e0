"""The benchmarks: `python3 -m tests.benchmarks`."""

import sys

from tests.environment import ROOT

# pytest has these folders in `pythonpath`. The benchmarks also call the layer and the handlers in this process.
for folder in (ROOT / "layers/triptych", *sorted((ROOT / "functions").iterdir())):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
