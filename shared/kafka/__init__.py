"""Kafka for every service: connection, topics, a producer that doesn't lose, a consumer that doesn't skip."""
