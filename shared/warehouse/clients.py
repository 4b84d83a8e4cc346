"""Google's own client for tables, views and queries, for Google's BigQuery or the emulator.

The emulator gets no credentials, and its REST address. Who appends rows needs another one (shared.warehouse.writing).
"""

from __future__ import annotations

from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from shared.settings import BigQuerySettings

CALL_TIMEOUT_S = 20.0
"""For one call. Longer than any healthy answer takes; a half-open connection is given up after it."""

RETRY: Retry = DEFAULT_RETRY.with_timeout(30.0)
"""Google's default retries a 500 for ten minutes, in silence; our own loops wait more visibly."""


def bigquery_client(settings: BigQuerySettings) -> bigquery.Client:
    """Tables, views, queries: over REST."""
    if settings.is_emulator:
        return bigquery.Client(
            settings.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=settings.rest_endpoint),
        )
    return bigquery.Client(settings.project)
