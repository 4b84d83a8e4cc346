"""The auditor: checks from the outside that nothing was lost, doubled or made up.

It shares the contract with the services (topic names, identity, what a field means) and no other code: it reads the log
with its own reader and recomputes features in its own way.
"""
