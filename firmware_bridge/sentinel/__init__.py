"""A guard and a thermostat for attached miners: hard limits first, a PID within them, each action with a reason."""
