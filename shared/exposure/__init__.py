"""What a customer still owes of the purchases that were let through: reserved before a decision, released where it
comes to nothing.

The account lies in Redis, so that checkouts of one customer that come at once, at whichever process, can't jointly pass
the limit. It counts approvals: the feature `open_exposure` counts everything that was bought or tried, since it has to
follow from the log of purchases alone.
"""

from shared.exposure.account import Reservation, Standing, reservation_of
from shared.exposure.store import ExposureStore

__all__ = ["ExposureStore", "Reservation", "Standing", "reservation_of"]
