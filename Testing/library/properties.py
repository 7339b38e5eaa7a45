"""How property-based tests are run: the same examples each time, few enough to be quick, nothing kept."""

from hypothesis import settings

quick = settings(deadline=None, max_examples=60, derandomize=True, database=None)
