"""What the warehouse's rows have to be like before anything is learnt from them, by Great Expectations.

`frames` reads, `suites` says what is expected, `checks` holds the one against the other and writes the pages that show
it.
"""

import os

# Before the library is imported, which would tell its makers of each use otherwise.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
