"""What operators and analysts look at: reads the warehouse, the registry and the scorer's REST door, writes to none."""
