"""Keeps rolling features of each customer, and emits a vector for each purchase."""
