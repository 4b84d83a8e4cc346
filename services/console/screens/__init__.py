"""One module a screen: asks, lets the view work it out, and shows it."""
