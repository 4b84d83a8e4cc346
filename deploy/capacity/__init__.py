"""How much of what a given load needs, from what a purchase was measured to cost (docs/operations/capacity.md)."""
