"""Hypothesis draws the same examples in each run, so that a change never fails by chance.

`--hypothesis-profile=random` draws new ones.
"""

from hypothesis import HealthCheck, settings

# On a loaded machine, an example may take any time.
settings.register_profile(
    "fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("random", settings.get_profile("fixed"), derandomize=False)
settings.load_profile("fixed")
