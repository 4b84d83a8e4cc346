"""How much less many purchases of few customers tell than as many of different ones, without a list of customers.

A customer's purchases resemble each other: the same credit score, the same devices. Were all attributes the customer's
own, the shares of two windows with m_i and k_i purchases of customer i (n and l in all) would differ by chance with the
variance of one draw times V = sum over i of (m_i / n - k_i / l)^2; of customers who come once, that is 1/n + 1/l.

V is a squared length, and a sketch of Alon, Matias and Szegedy ("The space complexity of approximating the frequency
moments", 1996) keeps those: each customer has `WIDTH` random signs, a counter sums the signs of the purchases, and the
mean square of counters estimates the sum of squares. Counters of days are added as histograms are, and no customer can
be read back from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

WIDTH = 512
"""Counters, so signs of each customer. The estimate's relative standard error is sqrt(2 / WIDTH): 6%."""

ERRORS = 3.0
"""So many of them are added to what is estimated: too small a V would call noise a change, one 19% too large costs
little."""

_CHUNK = 8192
"""Customers at a time: 4 MB of signs."""


def sketch(customers: NDArray[np.object_]) -> NDArray[np.int64]:
    """[WIDTH] counters for the customer of each purchase."""
    names, purchases = np.unique(customers.astype(str), return_counts=True)
    counters = np.zeros(WIDTH, np.int64)
    for start in range(0, len(names), _CHUNK):
        mine = purchases[start : start + _CHUNK].astype(np.float64)  # exact, and the product of matrices is fast
        pluses = mine @ _signs(names[start : start + _CHUNK].tolist())
        counters += (2 * pluses - mine.sum()).astype(np.int64)
    return counters


def _signs(names: Iterable[str]) -> NDArray[np.float64]:
    """[n, WIDTH] 1 for plus, 0 for minus."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=WIDTH // 8).digest() for name in names)
    return np.unpackbits(np.frombuffer(digests, np.uint8)).reshape(-1, WIDTH).astype(np.float64)


def variance_factor(one: NDArray[np.int64], one_rows: int, other: NDArray[np.int64], other_rows: int) -> float:
    """V as above, on the safe side: never below that of customers who all come once."""
    apart = one / one_rows - other / other_rows
    clustered = float(np.mean(apart**2)) * (1 + ERRORS * (2 / WIDTH) ** 0.5)
    return float(max(clustered, 1 / one_rows + 1 / other_rows))
