"""What an experiment shows, and when it has to end: statistics, guardrails, the watch over them, and the report."""
