"""What we install, written down and held against the published advisories."""
