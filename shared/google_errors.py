"""What Google's clients raise where a service of theirs doesn't answer."""

from __future__ import annotations

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

AWAY = (GoogleAPIError, GoogleAuthError, OSError)
"""Also where there is nobody to ask as: credentials that are missing, or can't be made anew. All errors of requests
are OSErrors."""
