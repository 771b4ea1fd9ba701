"""The theory, with no network in it: schedules, strength, time grids, solvers, and the one sampling loop.

The modules, in reading order:
    schedule     alpha(t), sigma(t): how much image and how much noise there is at time t
    prediction   epsilon, v_prediction, sample: what a network says, turned into what a solver needs
    forward      x_t = alpha x_0 + sigma noise
    strength     what the number between 0 and 1 means
    time_grid    which times are visited
    solvers      how to go from one time to the next: every sampler is a table of coefficients
    guidance     two predictions into one
    scheduler    a checkpoint's scheduler_config.json and a name, turned into a table
    sample       the loop that runs the table
"""
