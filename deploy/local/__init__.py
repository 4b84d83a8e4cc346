"""The embedded stack: real Kafka, Valkey and a BigQuery emulator as child processes of one Python process."""
