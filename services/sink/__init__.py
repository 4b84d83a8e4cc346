"""Writes every topic into its table of the warehouse, each record exactly once."""
