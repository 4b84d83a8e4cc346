"""The warehouse: tables, views, and how to reach BigQuery or its emulator. Knows no Kafka."""
