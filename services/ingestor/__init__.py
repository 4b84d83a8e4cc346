"""Purchases and outcomes from the event source, onto Kafka."""
