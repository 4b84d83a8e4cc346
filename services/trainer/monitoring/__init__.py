"""Watches models in service: has what comes in moved, do they keep what they promised, is what they see sound?

docs/operations/monitoring.md derives the rules and says how to read the report.
"""
