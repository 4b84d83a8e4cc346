"""The scorer: features to decisions, at two doors. The stream asks in batches, a checkout asks over REST."""
