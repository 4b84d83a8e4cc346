"""What is asked of the warehouse: SQL with its values. Pure; every query is bounded in days and in rows."""
