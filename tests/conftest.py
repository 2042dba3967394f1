"""Hypothesis: the same examples in every run, unless HYPOTHESIS_PROFILE=random asks for others."""

import os

from hypothesis import settings

# Fewer examples than Hypothesis' own 100 keep the suite under its time; `random` takes all of them.
# No deadline: the first example of a test pays for imports and for whatever else the machine does.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=16)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
