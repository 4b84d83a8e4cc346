"""What the screens show, worked out from rows. Pure: no warehouse, no page."""
