"""The ladder from the shadow over the canary into service: what is asked for at each step, what was found, and how a
step is written down so that a crash leaves the registry whole."""
