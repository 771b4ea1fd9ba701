"""The strength at which a metric takes the value that was asked for; ``find_strength`` is the way in."""
