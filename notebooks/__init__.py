"""The research that the models stand on. `make research` runs all of it; README.md says how to read it."""
