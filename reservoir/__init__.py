"""From timing to states to a trained readout, always next to the baselines that a referee would ask for."""
