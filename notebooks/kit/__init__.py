"""What notebooks share: access to the warehouse, the study's purchases, models side by side, and what is reported."""
