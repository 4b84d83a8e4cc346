"""What Prometheus records and alerts on, and what Grafana shows, as declarations that the files are written from."""
