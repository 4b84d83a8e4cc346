"""One file for each kind of call: from a request to its use case, and back to bytes."""
