"""The mistakes of a run, in the order in which a person should look at them."""
