"""The bundled stand-in for simtom: BNPL purchases over HTTP, with a known law of default."""
