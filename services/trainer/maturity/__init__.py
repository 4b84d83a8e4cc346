"""What is known of purchases whose loan still runs, and how to learn from it without taking "not yet" for "never"."""
